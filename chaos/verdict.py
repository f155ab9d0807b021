"""The verdict: what the tasks wrote down themselves against what is in the database.

What can be demanded, execution by execution (:mod:`chaos.truth` says what it writes down):

lost
    An execution that had begun has no row. None is excused but what nobody can keep: an execution that a full disk kept
    in memory, if its process was killed, or the broker lost the message; and what was in an outbox folder when
    somebody removed it, or came there in the second after. The latter must show in the books of its process, event by
    event, unless that process was killed too.
duplicated
    An execution has two rows that stand for it, or two rows for one model.
wrong
    A row of nobody; a row with another task id, job or attempt; a status that does not follow from how the task ended;
    ``lost`` although no fault met its process; tokens or money that are neither those of all calls that were begun
    nor those of all calls that came back. The two differ by one call at most, and only if the execution was cut short:
    then the process died between our line and the task's.

An execution that was prepared and whose body never began may have a row (``lost``, without tokens) or none: its
process died on one or the other side of our first line.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import NamedTuple

from aurea_celery.delivery.outbox import LOOK_SECONDS
from chaos.schedule import Call
from chaos.truth import Execution


class TokenPrice(NamedTuple):
    """What a token costs in USD."""

    input: Decimal
    output: Decimal

    def cost(self, call: Call) -> Decimal:
        """What a call costs in USD."""
        return call.input_tokens * self.input + call.output_tokens * self.output


PRICES: dict[str, TokenPrice | None] = {
    "gpt-4": TokenPrice(Decimal("0.00003"), Decimal("0.00006")),
    "gpt-4-turbo": TokenPrice(Decimal("0.00001"), Decimal("0.00003")),
    "house-model": None,
}
"""As published for these models; what the house's own costs is not known."""

STATUSES_OF_ENDING = {
    "success": {"success"},
    "failure": {"failure"},
    "retry": {"retry", "rejected"},  # Celery rejects a task whose retry it cannot publish
    None: set[str](),
}
NOTICED_SECONDS = LOOK_SECONDS + 0.5
"""After that, a process has seen that its outbox was removed, and begun another."""

MOST_SHOWN = 20
LEAST_SHARE = 0.95


class Row(NamedTuple):
    """What the verdict needs of a row of ``metrics``; ``execution_id`` is the task's own, from its tag."""

    execution_id: str | None
    event_id: str
    executions: int
    task_id: str | None
    job_id: str
    attempt: int
    status: str
    model: str
    calls: int
    input_tokens: int
    output_tokens: int
    unpriced_tokens: int
    cost_usd: Decimal


class Sum(NamedTuple):
    """What an execution spent on one model."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    unpriced_tokens: int = 0
    cost_usd: Decimal = Decimal(0)

    def plus(self, other: Sum) -> Sum:
        """Both together."""
        return Sum(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))  # type: ignore[operator]


NOTHING = Sum()


class Met(NamedTuple):
    """The pids of processes that a fault met; of those whose outbox was removed, with when in monotonic seconds.

    ``broker_loses``: whether the broker may have lost a message that it had confirmed.
    """

    touched: Collection[int] = frozenset()
    removed: Mapping[int, float] = MappingProxyType({})
    broker_loses: bool = False


@dataclass
class Verdict:
    """What was found; empty lists are what is hoped for.

    ``removed`` counts, by process, what was in a removed outbox, ``unkept`` what was in memory on a full disk;
    ``silent`` are those of these processes that were killed, so that their books may not know of all of it.
    """

    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    unkept: Counter[int] = field(default_factory=Counter)
    removed: Counter[int] = field(default_factory=Counter)
    silent: set[int] = field(default_factory=set)
    executions: int = 0
    spent: Sum = NOTHING
    written: Sum = NOTHING

    @property
    def is_good(self) -> bool:
        """Whether nothing was found."""
        return not (self.lost or self.duplicated or self.wrong)

    def as_text(self) -> str:
        """The findings, some of each kind, then the line that says it all."""
        lines = []
        for name, found in (("lost", self.lost), ("duplicated", self.duplicated), ("wrong", self.wrong)):
            lines += [f"  {name}: {sentence}" for sentence in found[:MOST_SHOWN]]
            if len(found) > MOST_SHOWN:
                lines.append(f"  {name}: and {len(found) - MOST_SHOWN} more")
        lines += [_line_of("spent by the tasks", self.spent), _line_of("in the database", self.written)]
        if self.unkept:
            lines.append(f"in memory on a full disk, and lost with process or message: {self.unkept.total()}")
        if self.removed:
            lines.append(f"in an outbox folder that was removed: {self.removed.total()}")
        lines.append(f"lost {len(self.lost)}, duplicated {len(self.duplicated)}, wrong {len(self.wrong)}")
        return "\n".join(lines)


def judge(executions: Mapping[str, Execution], rows: Iterable[Row], met: Met) -> Verdict:
    """Compare the truth with the rows."""
    verdict = Verdict()
    by_execution: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        verdict.written = verdict.written.plus(_sum_of(row))
        if row.execution_id is not None and row.execution_id in executions:
            by_execution[row.execution_id].append(row)
        else:
            verdict.wrong.append(f"the row of event {row.event_id} belongs to no execution")
    for execution in executions.values():
        found = by_execution.get(execution.execution_id)
        if found:
            _judge_rows(verdict, execution, found, met)
        elif execution.begun:
            _judge_missing(verdict, execution, met)
    return verdict


def judge_effort(verdict: Verdict, executions: Mapping[str, Execution], sent: int) -> None:
    """A run in which hardly a task ran shows nothing; some may be killed before they begin."""
    begun = len({one.task_id for one in executions.values() if one.begun})
    if begun < LEAST_SHARE * sent:
        verdict.wrong.append(f"only {begun} of {sent} tasks ever began")


def judge_books(verdict: Verdict, missing_by_pid: Mapping[int, int]) -> None:
    """The books close; they miss what nobody can keep, unless its process could not say so any more."""
    excused = verdict.removed + verdict.unkept
    for pid in sorted(missing_by_pid.keys() | excused.keys()):
        missing = missing_by_pid.get(pid, 0)
        if missing != excused[pid] and not (0 <= missing < excused[pid] and pid in verdict.silent):
            verdict.wrong.append(
                f"the books of process {pid} miss {missing} events, and nobody could keep {excused[pid]}"
            )


def judge_rejected(verdict: Verdict, rejected: set[str], planted: set[str], forgotten: set[str]) -> None:
    """What was put into the queue to be rejected was rejected, unless the broker has forgotten it, and nothing else."""
    foreign = rejected - planted - forgotten
    verdict.wrong += [f"rejected, and not by our doing: {text[:200]}" for text in sorted(foreign)]
    verdict.wrong += [f"should have been rejected: {text[:200]}" for text in sorted(planted - rejected)]


def _judge_missing(verdict: Verdict, execution: Execution, met: Met) -> None:
    """An execution without a row."""
    was_met = _was_met(execution, met)
    if execution.prepared_at <= met.removed.get(execution.pid, float("-inf")) + NOTICED_SECONDS:
        verdict.removed[execution.pid] += 1
    elif execution.disk_is_full and (was_met or met.broker_loses):
        verdict.unkept[execution.pid] += 1
        verdict.silent.add(execution.pid)
    else:
        verdict.lost.append(f"{_name(execution)} has no row")
        return
    if was_met:
        verdict.silent.add(execution.pid)


def _judge_rows(verdict: Verdict, execution: Execution, rows: list[Row], met: Met) -> None:
    """An execution with rows."""
    verdict.executions += 1
    standing = sum(row.executions for row in rows)
    models = Counter(row.model for row in rows)
    if standing > 1 or max(models.values()) > 1:
        verdict.duplicated.append(f"{_name(execution)} has {standing} executions and {len(rows)} rows")
    elif standing < 1:
        verdict.lost.append(f"{_name(execution)} has no row that stands for it")
    for row in rows:
        _judge_row(verdict, execution, row, met)
    _judge_sums(verdict, execution, rows, met)


def _judge_row(verdict: Verdict, execution: Execution, row: Row, met: Met) -> None:
    """Whose a row says it is, and how it ended."""
    said = (row.task_id, row.job_id, row.attempt)
    true = (execution.task_id, execution.job_id, execution.attempt)
    if said != true:
        verdict.wrong.append(f"{_name(execution)} has a row that says {said}, not {true}")
    if row.status in STATUSES_OF_ENDING[execution.ended_as]:
        return
    if row.status != "lost":
        verdict.wrong.append(f"{_name(execution)} ended as {execution.ended_as}, and is {row.status}")
    elif not _was_met(execution, met):
        verdict.wrong.append(f"{_name(execution)} is lost, but no fault met its process")


def _judge_sums(verdict: Verdict, execution: Execution, rows: list[Row], met: Met) -> None:
    """What an execution spent, model by model."""
    certain, possible = _sums(execution.calls[: execution.called]), _sums(execution.calls)
    written = {row.model: _sum_of(row) for row in rows if row.calls}
    in_doubt = execution.ended_as is None and _was_met(execution, met)
    true = possible if in_doubt and written == possible else certain
    for one in true.values():
        verdict.spent = verdict.spent.plus(one)
    if written != true:
        verdict.wrong.append(f"{_name(execution)} spent {true}, and its rows say {written}")


def _sums(calls: Iterable[Call]) -> dict[str, Sum]:
    sums: dict[str, Sum] = defaultdict(Sum)
    for call in calls:
        tokens, price = call.input_tokens + call.output_tokens, PRICES[call.model]
        cost = Sum(unpriced_tokens=tokens) if price is None else Sum(cost_usd=price.cost(call))
        sums[call.model] = sums[call.model].plus(Sum(1, call.input_tokens, call.output_tokens)).plus(cost)
    return dict(sums)


def _sum_of(row: Row) -> Sum:
    return Sum(row.calls, row.input_tokens, row.output_tokens, row.unpriced_tokens, row.cost_usd)


def _was_met(execution: Execution, met: Met) -> bool:
    return execution.pid in met.touched or execution.parent_pid in met.touched


def _name(execution: Execution) -> str:
    where = f"process {execution.pid} of {execution.parent_pid}"
    return f"execution {execution.execution_id} (task {execution.task_id}, attempt {execution.attempt}, {where})"


def _line_of(name: str, one: Sum) -> str:
    return (
        f"{name:<19} calls {one.calls}  input {one.input_tokens}  output {one.output_tokens}"
        f"  unpriced {one.unpriced_tokens}  USD {one.cost_usd.normalize():f}"
    )
