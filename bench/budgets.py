"""Microseconds that budgets add to a task before it begins: a look into the host's copy of their states."""

from __future__ import annotations

import tempfile
import time
from decimal import Decimal
from pathlib import Path

from aurea_celery.budget import BudgetState, BudgetStates
from aurea_celery.delivery.budgets import BudgetCopy, BudgetQuestions
from bench.ratio import Spread

LOOK_UPS = 200_000
STATES = 100


def used_up(job_id: str) -> BudgetState:
    """A budget with nothing left."""
    return BudgetState(
        job="*",
        task="",
        period="day",
        on_exceed="block",
        usd=Decimal(5),
        job_id=job_id,
        spent_usd=Decimal("5.0123"),
        ends_at_us=2**52,
    )


def look_up(copy: BudgetCopy, job_id: str) -> float:
    """Microseconds per look-up of a job."""
    begun = time.perf_counter()
    for _ in range(LOOK_UPS):
        copy.states_of(job_id)
    return (time.perf_counter() - begun) / LOOK_UPS * 1e6


def read(root: Path) -> float:
    """Microseconds of the one look-up that finds a copy that has changed."""
    copy = BudgetCopy(root)
    begun = time.perf_counter()
    copy.states_of("job")
    return (time.perf_counter() - begun) * 1e6


def main(rounds: int = 20) -> str:
    """Measure and describe, in Markdown."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        states = [used_up(f"job-{number}") for number in range(STATES)]
        BudgetQuestions(root, 1.0).take([BudgetStates(has_budgets=True, states=states)])
        copy = BudgetCopy(root)
        free = Spread.of([look_up(copy, "job") for _ in range(rounds)])
        exceeded = Spread.of([look_up(copy, "job-7") for _ in range(rounds)])
        renewed = Spread.of([read(root) for _ in range(rounds)])
    return (
        f"with {STATES} budgets used up, a job that has no budget takes {free.text('.2f')} us to look up, one of these "
        f"{exceeded.text('.2f')} us; reading a copy that has changed takes {renewed.text('.0f')} us"
    )


if __name__ == "__main__":
    print(main())
