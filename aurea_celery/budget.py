"""The states of budgets, as they go from the writer to the processes that run tasks.

A budget is what a job may cost in a period. Only states that matter there are sent: budgets that are used up, and those
that cannot judge because some of the usage has no price.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Literal, get_args

from msgspec import Struct

from aurea_celery.clock import from_us
from aurea_celery.events import Count, Microseconds, Text

Period = Literal["day", "month", "job"]
PERIODS: tuple[str, ...] = get_args(Period)

OnExceed = Literal["warn", "block"]
ON_EXCEED: tuple[str, ...] = get_args(OnExceed)

ALL_JOBS = ""
ALL_TASKS = ""


class BudgetState(Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """How one budget stands for one job in the period that runs now.

    ``job`` and ``task`` are as they were set: names or patterns, empty for all. ``job_id`` is the job that it stands so
    for, empty if the budget is of all jobs together. ``ends_at_us`` is when the period ends; None for a job's whole
    life. Money is in USD.
    """

    job: Text
    task: Text
    period: Period
    on_exceed: OnExceed
    usd: Decimal
    job_id: Text
    spent_usd: Decimal
    unpriced_tokens: Count = 0
    ends_at_us: Microseconds | None = None

    def concerns(self, task_name: str) -> bool:
        """Whether it is a budget of this task."""
        return not self.task or _matcher(self.task)(task_name) is not None

    @property
    def is_used_up(self) -> bool:
        """Whether nothing is left of it."""
        return self.spent_usd >= self.usd

    def describe(self) -> str:
        """Whose budget it is and how it stands, in one clause.

        >>> money = {"usd": Decimal(5), "spent_usd": Decimal("2.5")}
        >>> BudgetState(job="night*", task="", period="day", on_exceed="warn", job_id="nightly", **money).describe()
        "job 'nightly' has spent $2.50 of its budget of $5.00 a day"
        """
        whose = f"job {self.job_id!r} has" if self.job_id else "all jobs have"
        tasks = f" on tasks {self.task!r}" if self.task else ""
        its = "its" if self.job_id else "their"
        return f"{whose} spent {dollars(self.spent_usd)}{tasks} of {its} budget of {dollars(self.usd)} {self._span()}"

    def advice(self) -> str:
        """What to do when it is used up."""
        until = "" if self.ends_at_us is None else f"wait until {from_us(self.ends_at_us):%Y-%m-%d %H:%M} UTC, or "
        which = self._options()
        return f"{until}raise it: aurea budget set{which} --usd USD, or remove it: aurea budget remove{which}"

    def _span(self) -> str:
        return "over its life" if self.period == "job" else f"a {self.period}"

    def _options(self) -> str:
        named = {"job": self.job, "task": self.task}
        options = "".join(f" --{name} {value!r}" for name, value in named.items() if value)
        return f"{options} --period {self.period}"


class BudgetStates(Struct, frozen=True, kw_only=True):
    """What a writer says of all budgets: whether there are any, and the states that matter."""

    has_budgets: bool
    states: list[BudgetState]


@functools.lru_cache(maxsize=1024)
def _matcher(pattern: str) -> Callable[[str], object]:
    """Of a pattern in which a * stands for anything."""
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL).fullmatch


def dollars(usd: Decimal) -> str:
    """An amount for a person, exactly, with cents.

    >>> dollars(Decimal(5)), dollars(Decimal("0.0125"))
    ('$5.00', '$0.0125')
    """
    cents = Decimal("0.01")
    return f"${usd.normalize():f}" if usd % cents else f"${usd.quantize(cents):f}"
