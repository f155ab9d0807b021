"""What can be wrong with a run of the example."""

from __future__ import annotations


class ExampleError(Exception):
    """One clear sentence that says what happened and what to do.

    Args:
        sentence: What to tell the user.
        status: The exit status: 2 for what the user gave us, 1 for what went wrong while running.
    """

    def __init__(self, sentence: str, *, status: int = 2) -> None:
        super().__init__(sentence)
        self.status = status
