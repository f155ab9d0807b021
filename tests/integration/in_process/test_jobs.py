"""Which job an execution belongs to, whatever way Celery sends it."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, chain, chord, group
from celery.contrib.testing.worker import start_worker

from aurea_celery import Aurea, job
from tests.integration.in_process.tasks import Tasks
from tests.integration.in_process.worker import Rows

# Celery's Redis backend calls what redis-py has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")

Canvas = Callable[[Tasks], Any]


def linked(tasks: Tasks) -> Any:
    """A task with a callback."""
    signature = tasks.spend.s()
    signature.link(tasks.collect.s())
    return signature


CANVASES: dict[str, tuple[int, Canvas]] = {
    "one task": (1, lambda tasks: tasks.spend.s()),
    "chain": (3, lambda tasks: chain(tasks.spend.s(), tasks.collect.s(), tasks.spend.s())),
    "group": (3, lambda tasks: group(tasks.spend.s() for _ in range(3))),
    "chord": (3, lambda tasks: chord([tasks.spend.s(), tasks.spend.s()], tasks.collect.s())),
    "group of groups": (4, lambda tasks: group(group(tasks.spend.s(), tasks.spend.s()) for _ in range(2))),
    "chain into group": (3, lambda tasks: chain(tasks.spend.s(), group(tasks.spend.s(), tasks.collect.s()))),
    "group into task": (3, lambda tasks: chain(group(tasks.spend.s(), tasks.spend.s()), tasks.collect.s())),
    "group of chains": (4, lambda tasks: group(chain(tasks.spend.s(), tasks.collect.s()) for _ in range(2))),
    "group of groups of chains": (
        4,
        lambda tasks: group(group([tasks.spend.s() | tasks.collect.s()]) for _ in range(2)),
    ),
    "chord of chains": (5, lambda tasks: chord([tasks.spend.s() | tasks.collect.s()] * 2, tasks.collect.s())),
    "link": (2, linked),
    "retries": (3, lambda tasks: tasks.again.s()),
    "a task that sends another": (2, lambda tasks: tasks.nested.s()),
    "a task replaced by another": (2, lambda tasks: tasks.replaced.s()),
    "a task added to a chord": (4, lambda tasks: chord([tasks.adding.s(), tasks.spend.s()], tasks.collect.s())),
    "an error callback": (2, lambda tasks: tasks.fail.s().set(link_error=tasks.hear.s())),
    "an error callback of a chord": (
        3,
        lambda tasks: chord([tasks.spend.s(), tasks.fail.s()], tasks.collect.s().on_error(tasks.hear.s())),
    ),
    "a map": (1, lambda tasks: tasks.spend.map([1, 2])),
    "chunks": (2, lambda tasks: tasks.spend.chunks([(1,), (2,), (3,)], 2)),
}


@pytest.mark.parametrize("name", CANVASES)
def test_a_canvas_is_one_job(name: str, worked: Tasks, rows: Rows) -> None:
    """The one that is named, else one by itself."""
    count, canvas = CANVASES[name]
    with job("nightly/2026-11-24"):
        canvas(worked).delay()
    canvas(worked).delay()
    canvas(worked).delay()

    found = rows.wait_for(3 * count)

    jobs = Counter(row.job_id for row in found)
    assert jobs["nightly/2026-11-24"] == count, found
    assert list(jobs.values()) == [count] * 3, found


@pytest.mark.parametrize("name", CANVASES)
def test_options_name_the_job_and_the_tags_of_a_whole_canvas(name: str, worked: Tasks, rows: Rows) -> None:
    count, canvas = CANVASES[name]
    with job("a block around", tags={"tenant": "somebody", "team": "search"}):
        canvas(worked).apply_async(aurea_job="option", aurea_tags={"tenant": "acme"})

    found = rows.wait_for(count)

    assert {row.job_id for row in found} == {"option"}
    assert rows.tags() == [{"tenant": "acme", "team": "search"}] * count


def test_a_task_may_name_its_job_for_want_of_another(worked: Tasks, rows: Rows) -> None:
    worked.reporting.delay()
    with job("a block around"):
        worked.reporting.delay()

    found = rows.wait_for(4)

    assert Counter((row.task_name, row.job_id) for row in found) == {
        ("reporting", "reports"): 1,
        ("spend", "reports"): 1,
        ("reporting", "a block around"): 1,
        ("spend", "a block around"): 1,
    }


def test_an_error_callback_is_of_the_job_that_failed(worked: Tasks, rows: Rows) -> None:
    with job("nightly"):
        worked.fail.s().set(link_error=worked.hear.s()).delay()

    assert [(row.task_name, row.job_id) for row in rows.wait_for(2)] == [("fail", "nightly"), ("hear", "nightly")]


def test_tags_add_up_on_their_way_and_the_nearer_win(worked: Tasks, rows: Rows) -> None:
    summarise = worked.spend.s().set(aurea_tags={"step": "summarise", "draft": None})
    chain(worked.collect.s(), summarise, worked.nested.si()).apply_async(
        aurea_tags={"customer": "acme", "step": "fetch", "draft": "yes"}
    )

    rows.wait_for(4)

    fetched = {"customer": "acme", "step": "fetch", "draft": "yes"}
    summarised = {"customer": "acme", "step": "summarise"}
    assert rows.tags() == [fetched, summarised, summarised, summarised]


def test_the_settings_tags_are_of_each_row_and_are_not_handed_on(
    worked: Tasks, rows: Rows, celery_app: Celery, aurea: Aurea
) -> None:
    """What a process says of itself is not what it does it for."""
    aurea.close()
    pools = iter(["one", "two"])
    settings = {"tags": lambda _: {next(pools): "ran it"}, "tag_headers": ["region"]}
    with contextlib.closing(Aurea(celery_app, **settings)):
        with job("nightly", tags={"customer": "acme"}):
            worked.nested.apply_async(headers={"region": "eu"})
        rows.wait_for(2)

    assert rows.tags() == [
        {"one": "ran it", "region": "eu", "customer": "acme"},
        {"two": "ran it", "customer": "acme"},
    ]


def test_a_signature_that_is_used_again_has_the_tags_of_its_own_run(worked: Tasks, rows: Rows) -> None:
    headers: Any = {"aurea_tags": {"by": "header"}}
    again = chain(worked.collect.s(), worked.spend.s())
    for customer in ("acme", "ajax"):
        with job("nightly", tags={"customer": customer}):
            again.apply_async(headers=headers)
    again.apply_async()

    rows.wait_for(6)

    assert sorted(map(repr, rows.tags())) == sorted(
        repr(tags)
        for tags in ({"by": "header", "customer": "acme"}, {"by": "header", "customer": "ajax"}, {})
        for _ in range(2)
    )
    assert "aurea" not in repr(dict(again)), "Celery itself leaves ids in a signature, we leave nothing"
    assert headers == {"aurea_tags": {"by": "header"}}


@pytest.mark.usefixtures("aurea")
def test_a_chord_is_one_job_with_a_backend_that_polls(
    celery_app: Celery, tasks: Tasks, rows: Rows, celery_worker_parameters: dict[str, Any], tmp_path: Path
) -> None:
    """Where the result backend cannot count, a task of Celery's own waits for the header and sends the body."""
    (tmp_path / "results").mkdir()
    celery_app.conf.update(result_backend=f"file://{tmp_path / 'results'}", result_chord_retry_interval=0.1)
    with start_worker(celery_app, **celery_worker_parameters):
        test_a_canvas_is_one_job("chord", tasks, rows)


def test_a_block_inside_a_task_wins(worked: Tasks, rows: Rows) -> None:
    with job("nightly"):
        worked.elsewhere.delay()

    assert [row.job_id for row in rows.wait_for(2)] == ["nightly", "another bill"]


def test_what_a_task_maps_over_is_counted(worked: Tasks, rows: Rows) -> None:
    """Such calls run inside one task of Celery's own."""
    with job("nightly"):
        worked.spend.map([1, 2]).delay()
        worked.spend.starmap([(1, 2), (3, 4), (5, 6)]).delay()

    found = rows.wait_for(2)

    assert [(row.task_name, row.job_id, row.token_count) for row in found] == [
        ("celery.map(spend)", "nightly", 2),
        ("celery.starmap(spend)", "nightly", 3),
    ]
