"""Tags that travel: what is given, what becomes of it, and who inherits it."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from celery import Celery
from hypothesis import given
from hypothesis import strategies as st

from aurea_celery import Aurea, carry_context, job, monitor_task
from aurea_celery.capture.tags import MAX_TAGS, merged_tags, read_tags
from aurea_celery.events import TEXT_MAX_CHARACTERS
from aurea_celery.testing import recording
from tests.support.sinks import RecordingSink

QUEUE = "tags"
"""Of these tests alone: all apps of a process share one broker in memory."""

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.decimals(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
    max_leaves=10,
)


class Unprintable:
    """What has no text."""

    def __str__(self) -> str:
        raise RuntimeError


@pytest.fixture
def app() -> Iterator[Celery]:
    app = Celery("tags", broker="memory://", set_as_current=False)

    @app.task(name="tags.work", shared=False)
    def work() -> None:
        monitor_task(task_name="inner")(lambda: None)()

    yield app
    app.close()


def publish(app: Celery, **options: Any) -> Any:
    """Publish a task, and return the tags that its message carries."""
    with contextlib.closing(Aurea(app)):
        app.tasks["tags.work"].apply_async(queue=QUEUE, **options)
    with app.connection_for_read() as connection, connection.SimpleQueue(QUEUE) as queue:
        message = queue.get(timeout=1)
        message.ack()
    return message.headers.get("aurea_tags")


def apply(app: Celery, tags: Any) -> None:
    """Run a task as if its message carried these tags."""
    headers: Any = {"aurea_tags": tags}
    app.tasks["tags.work"].apply(headers=headers)


@given(tags=anything)
def test_whatever_is_given_can_be_sent_and_stored(tags: Any) -> None:
    found = merged_tags(read_tags(tags))

    assert json.loads(json.dumps(found)) == found
    assert all(len(text) <= TEXT_MAX_CHARACTERS for pair in found.items() for text in pair)


@pytest.mark.parametrize("tags", ["text", ["a", "b"], 7, object(), {}, None])
def test_what_is_no_mapping_is_no_tags_and_the_message_goes_out(app: Celery, tags: Any) -> None:
    assert publish(app, aurea_tags=tags) is None


def test_values_become_texts_before_a_serializer_sees_them(app: Celery) -> None:
    tags = {"customer": object, "limit": Decimal("1.50"), 3: b"\0", "long": "x" * 300, "none": None}

    sent = publish(app, aurea_tags=tags)

    assert sent == {"customer": str(object), "limit": "1.50", "3": str(b"\0"), "long": "x" * 255}
    assert tags["none"] is None, "the user's own mapping stays as it is"


def test_a_value_without_a_text_costs_the_tags_alone(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AUREA_RAISE_ERRORS")

    with job("nightly", tags={"customer": Unprintable()}):
        assert publish(app, aurea_tags={"region": "eu"}) == {"region": "eu"}


def test_a_message_carries_so_many_tags_the_nearest(app: Celery, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), job("nightly", tags={f"far {number}": "x" for number in range(1000)}):
        sent = publish(app, aurea_tags={"near": "x"})

    assert len(sent) == MAX_TAGS
    assert "near" in sent
    assert f"more than {MAX_TAGS} tags" in caplog.text


def test_what_an_older_or_a_strange_sender_wrote_is_read_as_well_as_can_be(app: Celery) -> None:
    with recording(app) as recorder:
        for tags in ({"priority": 3, "none": None, "long": "x" * 300}, "text", ["a"], 5, None):
            apply(app, tags)

    rows = [event.tags for event in recorder.finished if event.task_name == "tags.work"]
    assert rows == [{"priority": "3", "long": "x" * 255}, {}, {}, {}, {}]


def test_blocks_add_their_tags_and_give_them_back(app: Celery) -> None:
    found = []
    with job("outer", tags={"a": 1, "b": 1}):
        with job("inner", tags={"b": 2, "a": None, "c": 3}):
            found.append(publish(app))
        found.append(publish(app))
    found.append(publish(app))

    assert found == [{"b": "2", "c": "3"}, {"a": "1", "b": "1"}, None]


def test_what_runs_inside_of_a_tagged_task_has_its_tags(app: Celery) -> None:
    with recording(app, tags={"team": "search"}) as recorder:
        apply(app, {"customer": "acme"})

    assert [(event.task_name, event.tags) for event in recorder.finished] == [
        ("inner", {"team": "search", "customer": "acme"}),
        ("tags.work", {"team": "search", "customer": "acme"}),
    ]


def test_an_eager_task_has_the_tags_of_what_is_around(app: Celery) -> None:
    with recording(app) as recorder, job("nightly", tags={"customer": "acme"}):
        app.tasks["tags.work"].apply()

    assert [event.tags for event in recorder.finished] == [{"customer": "acme"}] * 2


def test_a_monitored_call_has_the_tags_of_the_block_and_hands_them_on(sink: RecordingSink) -> None:
    @monitor_task(task_name="inner")
    def inner() -> None:
        """Do nothing."""

    @monitor_task(task_name="outer")
    def outer() -> None:
        inner()
        with job("nightly", tags={"step": "second"}), ThreadPoolExecutor() as pool:
            pool.submit(carry_context(inner)).result()

    with job("nightly", tags={"customer": "acme", "step": "first"}):
        outer()

    first = {"customer": "acme", "step": "first"}
    assert [event.tags for event in sink.finished] == [first, {"customer": "acme", "step": "second"}, first]
