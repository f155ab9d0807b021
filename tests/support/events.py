"""Events for tests: one to begin from, and all that are possible."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from aurea_celery.clock import new_event_id
from aurea_celery.events import STATUSES, ModelCall, Source, TaskEvent, Usage

BASE_US = 1_790_000_000_000_000  # September 2026
WEEK_US = 7 * 86_400 * 1_000_000


def make_event(**fields: Any) -> TaskEvent:
    """A plain successful execution, but for the fields that are given."""
    defaults: dict[str, Any] = {
        "event_id": new_event_id(),
        "job_id": "job",
        "task_name": "app.task",
        "status": "success",
        "started_at_us": BASE_US,
        "ended_at_us": BASE_US + 1_500,
        "latency_us": 1_500,
    }
    return TaskEvent(**(defaults | fields))


def make_source(**fields: Any) -> Source:
    """A process of the host."""
    defaults: dict[str, Any] = {"source_id": new_event_id(), "host": "host", "pid": 1}
    return Source(**(defaults | fields))


names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)
# Few of each, so that sums have something to add.
few_names = st.sampled_from(
    ["a", "b", "it's", 'say "no"', "t\tab", "new\nline", "back\\slash", "\\N", "ünïcødé", "x,y", "\\."]
)
tokens = st.integers(0, 10_000)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """Every shape of usage."""
    shape = draw(st.sampled_from(["unknown", "total", "all", "split", "cached", "heard"]))
    if shape == "unknown":
        return Usage()
    if shape == "total":
        return Usage(total_tokens=draw(tokens))
    if shape == "all":
        asked, said = draw(tokens), draw(tokens)
        return Usage(input_tokens=asked, output_tokens=said, total_tokens=asked + said + draw(st.just(0) | tokens))
    read, write, reasoning = (draw(tokens) for _ in range(3)) if shape == "cached" else (None, None, None)
    heard, spoken = (draw(tokens) for _ in range(2)) if shape == "heard" else (None, None)
    return Usage(
        input_tokens=draw(tokens) + (read or 0) + (write or 0) + (heard or 0),
        output_tokens=draw(tokens) + (reasoning or 0) + (spoken or 0),
        cache_read_input_tokens=read,
        cache_write_input_tokens=write,
        reasoning_output_tokens=reasoning,
        input_audio_tokens=heard,
        output_audio_tokens=spoken,
        cache_write_1h_input_tokens=None if write is None else draw(st.none() | st.integers(0, write)),
    )


CONTRADICTIONS: list[dict[str, int]] = [
    {"input_tokens": 1, "cache_read_input_tokens": 1, "cache_write_input_tokens": 1},
    {"input_tokens": 3, "cache_write_input_tokens": 2, "cache_write_1h_input_tokens": 3},
    {"input_tokens": 3, "cache_write_1h_input_tokens": 1},
    {"output_tokens": 1, "reasoning_output_tokens": 2},
    {"input_tokens": 1, "input_audio_tokens": 2},
    {"output_audio_tokens": 1},
    {"input_tokens": -1},
]
"""Counts of tokens that no call can have used; neither a usage nor a row may say so."""

calls = st.builds(
    ModelCall,
    usage=usages(),
    provider=st.none() | few_names,
    model=st.none() | st.sampled_from(["gpt-4", "claude-3-opus", "nobody-knows"]) | few_names,
    response_model=st.none() | few_names,
    cost_usd=st.none() | st.decimals(0, 1000, places=9).map(lambda cost: Decimal(abs(cost))),
    cost_problem=st.none() | st.just("the cost function failed"),
)


def events() -> st.SearchStrategy[TaskEvent]:
    """Every event."""
    return st.builds(
        make_event,
        event_id=st.builds(new_event_id),
        job_id=few_names | names,
        task_name=few_names,
        status=st.sampled_from(STATUSES),
        ended_at_us=st.integers(BASE_US - 20 * WEEK_US, BASE_US + 20 * WEEK_US),
        latency_us=st.integers(0, 10**10),
        error_type=st.none() | few_names,
        attempt=st.integers(0, 5),
        redelivered=st.booleans(),
        broker_wait_us=st.none() | st.integers(0, 10**9),
        tags=st.dictionaries(few_names, few_names, max_size=2),
        calls=st.lists(calls, max_size=3).map(tuple),
    )
