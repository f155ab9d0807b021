"""What model calls are recorded, against what the golden set says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aurea_celery import monitor_task
from aurea_celery.events import ModelCall
from tests.support import golden
from tests.support.sinks import RecordingSink

HELLO: Any = [{"role": "user", "content": "Say hello."}]
KEY = "no-key"


def calls_of(sink: RecordingSink, body: Callable[[], object]) -> tuple[ModelCall, ...]:
    """What is recorded while a body runs."""
    monitor_task("job", "task")(body)()
    return sink.last.calls


def recorded(sink: RecordingSink, body: Callable[[], object]) -> ModelCall:
    """The one call that a body records."""
    (call,) = calls_of(sink, body)
    return call


def check(call: ModelCall, name: str) -> None:
    """A call is what its answer in the golden set says."""
    expected = golden.expected(name)
    assert call.usage == expected.usage
    assert (call.response_model, call.service_tier, call.provider) == (
        expected.model,
        expected.service_tier,
        expected.provider,
    )


def check_streamed(call: ModelCall, name: str) -> None:
    """A streamed call is what its chunks say, and took some time."""
    check(call, name)
    assert call.latency_us is not None
    assert call.time_to_first_token_us is not None
    assert 0 <= call.time_to_first_token_us <= call.latency_us
