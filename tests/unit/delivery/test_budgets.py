"""The host's copy of the states of budgets: what a process reads in it, and who asks for it when."""

from __future__ import annotations

import os
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aurea_celery.budget import BudgetState, BudgetStates
from aurea_celery.clock import now_us
from aurea_celery.delivery import budgets
from aurea_celery.delivery.budgets import COPY, BudgetCopy, BudgetQuestions
from aurea_celery.delivery.publisher import Publisher
from aurea_celery.delivery.receipts import read_answers
from aurea_celery.settings import Settings
from tests.support.events import make_event
from tests.support.outboxes import make_outbox
from tests.support.senders import MemorySender

pytestmark = pytest.mark.clock


def used_up(job_id: str = "nightly", **fields: Any) -> BudgetState:
    """A budget of five dollars with nothing left."""
    defaults: dict[str, Any] = {
        "job": job_id,
        "task": "",
        "period": "day",
        "on_exceed": "block",
        "usd": Decimal(5),
        "spent_usd": Decimal("5.2"),
        "ends_at_us": now_us() + 60_000_000,
    }
    return BudgetState(job_id=job_id, **(defaults | fields))


def told(*states: BudgetState) -> BudgetStates:
    """What a writer says."""
    return BudgetStates(has_budgets=True, states=list(states))


@pytest.fixture(autouse=True)
def _look_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgets, "LOOK_SECONDS", 0.0)


def test_every_process_reads_what_one_was_told(tmp_path: Path) -> None:
    copy, questions = BudgetCopy(tmp_path), BudgetQuestions(tmp_path, 1.0)
    assert copy.states_of("nightly") == ()
    mine, of_all = used_up(), used_up("", on_exceed="warn")

    questions.take([told(used_up("earlier")), told(mine, of_all, used_up("another"))])

    assert copy.states_of("nightly") == [mine, of_all]
    assert copy.states_of("no one's") == [of_all]
    questions.take([told()])
    assert copy.states_of("nightly") == ()


def test_a_period_that_is_over_counts_no_more(tmp_path: Path) -> None:
    BudgetQuestions(tmp_path, 1.0).take([told(used_up(ends_at_us=now_us() - 1), used_up(ends_at_us=None))])

    assert [state.ends_at_us for state in BudgetCopy(tmp_path).states_of("nightly")] == [None]


def test_a_copy_that_nobody_renews_counts_no_more(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    copy = BudgetCopy(tmp_path)
    BudgetQuestions(tmp_path, 1.0).take([told(used_up())])
    assert copy.states_of("nightly")

    old = time.time() - budgets.VALID_SECONDS - 1
    os.utime(tmp_path / COPY, (old, old))

    assert not copy.states_of("nightly")
    assert "no writer has told of budgets" in caplog.text


@pytest.mark.parametrize("content", [b"", b"{", b'{"has_budgets":true}', b'{"states":[{"job":1}]}'])
def test_a_copy_that_cannot_be_read_keeps_nothing_from_running(tmp_path: Path, content: bytes) -> None:
    (tmp_path / COPY).write_bytes(content)

    assert BudgetCopy(tmp_path).states_of("nightly") == ()


def test_answers_of_every_release_are_read() -> None:
    state = used_up()
    answers = ["old", {"batch_id": "new", "budgets": None}, {"batch_id": 7}, 7, {"batch_id": "told", "more": 1}]

    full = {"batch_id": "full", "budgets": {"has_budgets": True, "states": []}}
    received = read_answers([b"not JSON", *map(msgspec.json.encode, [*answers, full])])

    assert received.batch_ids == {"old", "new", "told", "full"}
    assert received.budgets == [told()]
    assert state.is_used_up


def test_one_process_of_a_host_asks_for_all(tmp_path: Path) -> None:
    first, second = BudgetQuestions(tmp_path, 1.0), BudgetQuestions(tmp_path, 1.0)
    assert first.must_ask()
    assert second.must_ask()

    first.note_asked()

    assert not second.must_ask()
    first.take([told()])
    assert first.may_ask(), "a batch that is sent anyway may use a budget up"
    first.take([BudgetStates(has_budgets=False, states=[])])
    assert not first.may_ask(), "there is nothing to ask for"


def test_without_an_answer_questions_become_rare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(time, "time", lambda: now)
    questions = BudgetQuestions(tmp_path, 1.0)
    asked_at = []
    for _ in range(3600):
        if questions.must_ask():
            questions.note_asked()
            os.utime(tmp_path / budgets.ASKED, (now, now))
            asked_at.append(now - 1000.0)
        now += 1

    assert asked_at[:6] == [0, 20, 60, 140, 300, 600]
    assert len(asked_at) < 20


def test_batches_that_nobody_answers_are_no_trouble(tmp_path: Path) -> None:
    questions = BudgetQuestions(tmp_path, 1.0)
    questions.take([told()])
    for _ in range(2000):
        assert questions.may_ask()
        questions.note_asked()

    assert not questions.must_ask()


@pytest.fixture
def asking(tmp_path: Path) -> tuple[Publisher, MemorySender]:
    """A publisher whose sender answers that a budget is used up."""
    sender = MemorySender()
    sender.reply_to, sender.budgets = "metrics.receipts.here", told(used_up())
    outbox = make_outbox(tmp_path)
    outbox.open_folder()
    return Publisher(outbox, sender, Settings(budget_refresh_seconds=1.0)), sender


def test_a_publisher_with_nothing_to_send_asks(asking: tuple[Publisher, MemorySender], tmp_path: Path) -> None:
    publisher, sender = asking
    publisher.ship()
    assert (sender.asked_count, sender.sent_count) == (1, 0)

    publisher.ship()

    assert BudgetCopy(tmp_path).states_of("nightly")
    assert sender.asked_count == 1


def test_a_batch_asks_too(asking: tuple[Publisher, MemorySender]) -> None:
    publisher, sender = asking
    publisher._outbox.finish(make_event())
    publisher.ship()

    assert (sender.asked_count, sender.sent_count) == (1, 1)


@pytest.mark.parametrize("settings", [Settings(budget_refresh_seconds=0.0), Settings()])
def test_nobody_asks_where_no_answer_would_come(tmp_path: Path, settings: Settings) -> None:
    sender = MemorySender()
    sender.reply_to = "metrics.receipts.here" if not settings.budget_refresh_seconds else None
    outbox = make_outbox(tmp_path)
    outbox.finish(make_event())
    Publisher(outbox, sender, settings).ship()

    assert (sender.asked_count, sender.sent_count) == (0, 1)
