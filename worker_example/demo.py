"""The demo: ``python -m worker_example.demo --help``.

Starts everything on this machine, runs the example, reports what it cost, proves that nothing is missing, and serves
the API until Ctrl-C.
"""

from __future__ import annotations

from worker_example.interrupts import Interrupts


def main() -> None:
    """Run the command; Ctrl-C is looked after before the slow imports begin."""
    interrupts = Interrupts()
    from worker_example.command import command  # noqa: PLC0415 - it takes half a second

    command(obj=interrupts, prog_name="python -m worker_example.demo")


if __name__ == "__main__":
    main()
