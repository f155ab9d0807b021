"""What mypy says of everything public: checked by ``make lint``, and by ``tests/unit/test_typing.py`` both ways."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from typing import assert_type

from celery import Celery

from aurea_celery import Aurea, AureaError, Usage, __version__, carry_context, job, monitor_task, record_usage
from aurea_celery.testing import Recorder, recording


@monitor_task("job", "task", "gpt-4", lambda model, tokens: len(model) * tokens)
def positional(text: str, *, times: int = 1) -> tuple[str, int]:
    """Everything positional."""
    return text * times, times


@monitor_task(estimate_cost_fn=lambda _model, _tokens: Decimal(1))
async def coroutine(text: str) -> dict[str, int]:
    """A coroutine stays one."""
    return {text: 1}


@monitor_task()
def stream(count: int) -> Iterator[int]:
    """A generator stays one."""
    yield from range(count)


@monitor_task()
async def async_stream(count: int) -> AsyncIterator[int]:
    """An async generator stays one."""
    for number in range(count):
        yield number


@monitor_task
def bare(text: str) -> int:
    """A decorator without parentheses."""
    return len(text)


class Summariser:
    """Methods keep their class."""

    @monitor_task(job_id=None)
    def run(self, text: str) -> str:
        """A method."""
        return text

    @classmethod
    @monitor_task()
    def make(cls) -> Summariser:
        """A class method."""
        return cls()


@job("nightly")
def in_a_job(number: int) -> str:
    """A function in a job."""
    return str(number)


async def check(app: Celery) -> None:
    """Every signature is what it was."""
    assert_type(positional("a", times=2), tuple[str, int])
    assert_type(await coroutine("a"), dict[str, int])
    assert_type(stream(2), Iterator[int])
    assert_type(async_stream(2), AsyncIterator[int])
    assert_type(Summariser.make().run("a"), str)
    assert_type(in_a_job(1), str)
    assert_type(bare("a"), int)
    assert_type(carry_context(in_a_job)(1), str)
    assert_type(record_usage(model="gpt-4", input_tokens=1, cost_usd="0.1"), None)
    assert_type(Usage(total_tokens=1).token_count, int)
    assert_type(Aurea(app, batch_events=100).close(), None)
    assert_type(__version__, str)
    assert issubclass(AureaError, Exception)
    with job("nightly"), recording(app) as recorder:
        assert_type(recorder, Recorder)
        assert_type(recorder.tokens, int)
