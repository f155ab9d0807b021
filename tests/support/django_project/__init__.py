"""A user's Django project, as Celery's documentation has it."""
