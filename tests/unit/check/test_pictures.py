"""The pictures of ``aurea check`` in docs/operations.md are what it prints, and every finding is explained there."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aurea_celery.check.facts import Broker, Facts, Held
from aurea_celery.check.findings import EXIT_STATUS, REASONS
from aurea_celery.check.report import as_text, exit_status
from aurea_celery.clock import from_us
from aurea_celery.price_lists import ListPrices
from aurea_celery.storage.books import Books, ProcessBooks
from aurea_celery.storage.pulse import Pulse

pytestmark = pytest.mark.clock

PAGE = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()
PICTURES = re.findall(r"```text\n([^$].*?)\n```", PAGE, re.DOTALL)  # those that begin with $ are of other commands
ROOT = "/var/lib/aurea/9f86d081884c"


def process(pid: int, captured: int, written: int, **dropped: int) -> ProcessBooks:
    return ProcessBooks(
        source_id=f"source {pid}",
        host="web-1",
        pid=pid,
        captured=captured,
        published=written,
        written=written,
        rejected=0,
        duplicates=0,
        dropped_by_reason=dropped,
        seconds_unseen=120.0,
    )


def facts(
    *processes: ProcessBooks, silent_seconds: float = 1.0, age_days: int = 0, messages: int = 0, **held: int
) -> Facts:
    dropped = {reason: count for one in processes for reason, count in one.dropped_by_reason.items()}
    return Facts(
        host="web-1",
        queue="aurea_metrics",
        books=Books(
            captured=sum(one.captured for one in processes),
            published=sum(one.published for one in processes),
            written=sum(one.written for one in processes),
            rejected=0,
            pending=sum(one.pending for one in processes),
            dropped=sum(one.dropped for one in processes),
            duplicates=0,
            excluded=0,
            sampled_out=0,
            dropped_by_reason=dropped,
        ),
        processes=list(processes),
        rollup_differences={},
        rows_in_default=0,
        pulse=Pulse(
            backlog=0,
            oldest_event_seconds=None,
            last_write=from_us(0),
            seconds_since_write=silent_seconds,
            is_unused=False,
        ),
        broker=Broker(url="redis://localhost:6379/0", messages=messages),
        held=Held(
            root=ROOT,
            events={f"source {pid[3:]}": count for pid, count in held.items()},
            oldest_seconds=3.4,
            unreadable=0,
        ),
        list_prices=ListPrices("genai-prices", datetime.now(UTC).date() - timedelta(days=age_days)),
    )


SEEN: dict[str, tuple[Facts, int]] = {
    "all accounted for": (facts(process(311, 5000, 5000)), 0),
    "on the way": (facts(process(311, 750, 750), process(312, 762, 750), messages=2, pid312=12), 3),
    "nobody writes": (facts(process(311, 5, 5), silent_seconds=14 * 60, messages=1203), 4),
    "dropped": (facts(process(311, 8, 5, outbox_full=3)), 1),
    "missing": (facts(process(311, 17, 5)), 1),
}


@pytest.mark.parametrize(("seen", "status"), SEEN.values(), ids=SEEN.keys())
def test_a_picture_is_what_is_printed(seen: Facts, status: int) -> None:
    whole, by_process = (as_text(seen, by_process=shown) for shown in (False, True))

    assert {whole, by_process, whole.splitlines()[0]} & set(PICTURES)
    assert exit_status(seen) == status


def test_no_picture_is_made_up() -> None:
    assert len(PICTURES) == len(SEEN)


def test_every_finding_and_reason_is_explained() -> None:
    for kind, status in EXIT_STATUS.items():
        assert re.search(rf"^\| {status} \| `{kind}` \|", PAGE, re.MULTILINE), kind
    for reason in REASONS:
        assert f"`{reason}`" in PAGE, reason


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"captured": 0, "written": 0}, "Nothing has been captured yet."),
        ({"rejected": 2, "captured": 7}, "Everything is accounted for: 7 executions captured, 5 written, 2 rejected"),
    ],
)
def test_other_sentences(changed: dict[str, Any], sentence: str) -> None:
    seen = facts(process(311, 5, 5))
    seen = replace(seen, books=msgspec.structs.replace(seen.books, **changed))

    assert as_text(seen, by_process=False).startswith(sentence)


def test_an_outbox_that_cannot_be_read_is_not_accounted_for() -> None:
    seen = facts(process(311, 5, 5))
    assert seen.held is not None
    seen = replace(seen, held=replace(seen.held, unreadable=2))

    assert as_text(seen, by_process=False).startswith(f"2 outboxes cannot be read in {ROOT}; run this as the user")
    assert exit_status(seen) == 3


def test_old_list_prices_are_said_and_are_no_fault() -> None:
    stale, fresh = (facts(process(311, 5, 5), age_days=days) for days in (31, 30))

    said = "List prices: genai-prices, 31 days old; fetch newer ones: aurea prices refresh."
    assert as_text(stale, by_process=False).splitlines()[1] == said
    assert "List prices" not in as_text(fresh, by_process=False)
    assert exit_status(stale) == 0
