"""What runs in the user's process: executions, jobs, the decorator, the signal handlers."""
