"""How a run comes to rest, and what is found then."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from aurea_celery.storage.audit import Audit, audit
from chaos.run import Say
from chaos.stack import Slot, Stack, end_all, pid_of
from chaos.verdict import Met, Row, Verdict, judge, judge_books, judge_effort, judge_rejected
from tests.support.databases import connected
from tests.support.servers import wait_until

REST_SECONDS = 120.0

ROWS = """
    SELECT tags->>'execution' AS execution_id, event_id::text, executions, task_id, job_id, attempt, status,
           model_used AS model, calls, coalesce(input_tokens, 0) AS input_tokens,
           coalesce(output_tokens, 0) AS output_tokens, unpriced_tokens, cost_estimate AS cost_usd
    FROM metrics
"""
BOOKS = "SELECT pid, sum(captured - written - rejected)::bigint AS missing FROM metrics_sources GROUP BY pid"


def come_to_rest(stack: Stack, say: Say) -> None:
    """Stop the workers, send what is left in every outbox, and wait until the writers have written all of it."""
    _end(stack.workers, say)
    stack.truth.read()
    collector = stack.start_collector()
    living = [collector, *stack.writers]
    _wait(lambda: not _left_by_the_dead(stack, living), "every outbox being empty", living, say)
    _end([collector], say)
    names = ("aurea_metrics", "aurea_metrics.unacked_index")
    _wait(lambda: stack.broker.messages(*names) == 0, "the writers' queue being empty", stack.writers, say)
    _end(stack.writers, say)
    left = [path.name for path in stack.outbox_folders()]
    if left:
        say(f"left in the outbox: {', '.join(left)}")


def _end(slots: list[Slot], say: Say) -> None:
    for sentence in end_all(slots):
        say(sentence)


def _left_by_the_dead(stack: Stack, living: list[Slot]) -> list[str]:
    """The outbox folders of processes that are no more; a writer has one too, like every worker."""
    pids = {pid for slot in living for pid in slot.family()}
    return [path.name for path in stack.outbox_folders() if pid_of(path.name) not in pids]


def _wait(condition: Callable[[], bool], what: str, slots: list[Slot], say: Say) -> None:
    """Wait for a condition while the supervisor goes on; what does not happen shows in the verdict."""

    def holds() -> bool:
        for sentence in [slot.tend() for slot in slots]:
            if sentence:
                say(sentence)
        return condition()

    try:
        wait_until(holds, what, seconds=REST_SECONDS)
    except TimeoutError as error:
        say(str(error))


def find(stack: Stack, sent: int) -> tuple[Verdict, Audit]:
    """The verdict on rows, books, rejected messages and rollups, after so many tasks were sent."""
    stack.truth.read()
    with connected(stack.database_url) as connection:
        rows = [Row(**row._mapping) for row in connection.execute(sa.text(ROWS))]
        books: dict[int, int] = {row.pid: int(row.missing) for row in connection.execute(sa.text(BOOKS))}
        rejected = list(connection.scalars(sa.text("SELECT payload FROM metrics_rejected")))
    verdict = judge(stack.truth.executions, rows, Met(stack.touched, stack.removed, stack.broker_loses))
    audited = audit(stack.database_url)
    judge_effort(verdict, stack.truth.executions, sent)
    judge_books(verdict, books)
    texts = {_hash_of(text): text for text in stack.planted | stack.forgotten}
    judge_rejected(verdict, {_text_of(payload, texts) for payload in rejected}, stack.planted, stack.forgotten)
    verdict.wrong += [
        f"{count} sums of {table} differ from the rows" for table, count in audited.rollup_differences.items()
    ]
    return verdict, audited


def _hash_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _text_of(payload: str, texts: Mapping[str, str]) -> str:
    """What a rejected payload held: of a message that is not ours only the hash is kept."""
    try:
        read: Any = json.loads(payload)
    except ValueError:
        return payload
    foreign = read.get("foreign_message") if isinstance(read, dict) else None
    return texts.get(foreign["sha256"], payload) if foreign else payload


def summary_of(verdict: Verdict, audited: Audit, seconds: float) -> str:
    """The last lines of a run."""
    rate = Decimal(verdict.executions / seconds if seconds else 0).quantize(Decimal(1))
    return f"{audited.books}\n{verdict.as_text()} (executions {verdict.executions}, {rate} a second)"
