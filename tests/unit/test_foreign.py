"""What is kept of messages that are not ours."""

from __future__ import annotations

import json

import pytest

from aurea_celery.events import encode
from aurea_celery.foreign import DEADLY_MAX_CHARACTERS, describe, is_ours, read_description
from tests.support.events import make_event
from tests.support.hostile import one_batch

BATCH = one_batch(encode(make_event())).decode()


def test_a_description_says_who_and_how_much_and_not_what() -> None:
    text = describe("it is foreign", "shop.pay", "id-1", b"card 4929").decode()
    assert json.loads(text)["foreign_message"] == {
        "why": "it is foreign",
        "task": "shop.pay",
        "id": "id-1",
        "bytes": 9,
        "sha256": "5cbfe3bfa9147dbb687e6c87412de5cc12840e5e60ff6cb234808860be1a3f75",
    }
    described = read_description(text)
    assert described is not None
    assert described.task == "shop.pay"


@pytest.mark.parametrize("body", ["\ud800", b"\xff", memoryview(b"x"), None, 7, {"a": 1}])
@pytest.mark.parametrize("name", [None, 7, ["card 4929"], "x" * 1000 + "\0\ud800"])
def test_whatever_a_message_is_made_of_it_is_described(body: object, name: object) -> None:
    text = describe("why", name, name, body).decode()
    assert read_description(text) is not None
    assert "4929" not in text


def test_of_a_batch_that_ends_its_process_the_beginning_is_kept() -> None:
    kept = read_description(describe("why", None, None, BATCH, BATCH + " " * DEADLY_MAX_CHARACTERS).decode())
    assert kept is not None
    assert kept.body == (BATCH + " " * DEADLY_MAX_CHARACTERS)[:DEADLY_MAX_CHARACTERS]
    assert "4929" not in describe("why", None, None, "4929", "card 4929").decode()


@pytest.mark.parametrize(
    "text", ["", "x", "[]", "{}", '{"foreign_message": {"body": "4929"}}', "[" * 100_000, "\ud800"]
)
def test_what_is_no_description_is_none(text: str) -> None:
    assert read_description(text) is None


def test_only_what_begins_as_a_batch_does_is_ours() -> None:
    assert is_ours(BATCH)
    assert is_ours(BATCH[: len(BATCH) // 2])
    assert is_ours('{"v": 99, "sources": []}')
    assert not any(is_ours(text) for text in ("", "card 4929", '{"version": 1}', '{"v":"x","a":1}', f"x{BATCH}"))
