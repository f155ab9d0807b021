"""The running execution and the job it belongs to, carried in context variables.

An :class:`Execution` is one attempt of a task or one monitored call while it runs. Its model calls are handed to
delivery when they happen, so that spend survives a kill in the middle.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import logging
from collections import deque
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from decimal import Decimal
from typing import Any, ParamSpec, TypeVar

import msgspec

from aurea_celery._guard import guarded, log_once_a_minute
from aurea_celery.capture.registry import Destination
from aurea_celery.clock import monotonic_us, new_event_id, now_us
from aurea_celery.events import ModelCall, Status, TaskEvent, Usage, clean_text
from aurea_celery.usage import read_response, read_usage

P = ParamSpec("P")
R = TypeVar("R")

CostFunction = Callable[[str, int], Any]
NO_JOB = "none"
AFTER_ITS_END = " (after its end)"
MOST_COUNTED = 64


_execution: ContextVar[Execution | None] = ContextVar("aurea_execution", default=None)
_job: ContextVar[str | None] = ContextVar("aurea_job", default=None)


class Execution:
    """One attempt of a task or one monitored call, while it runs.

    ``counted`` are the objects whose usage was counted last: a caller that hands the same object on does not count it
    again. ``job_is_named`` says whether somebody named its job, or the job is a canvas.
    """

    __slots__ = (
        "_begun_us",
        "_calls",
        "_ended",
        "body_entered",
        "cost_function",
        "counted",
        "destination",
        "event",
        "job_is_named",
        "model",
        "task",
    )

    def __init__(
        self,
        destination: Destination,
        event: TaskEvent,
        *,
        job_is_named: bool,
        model: str | None = None,
        task: Any = None,
    ) -> None:
        self.destination = destination
        self._calls: list[ModelCall] = []
        self._ended = False
        self.event = event
        self.job_is_named = job_is_named
        self.model = model
        self.task = task
        self.cost_function: CostFunction | None = None
        self.counted: deque[Any] = deque(maxlen=MOST_COUNTED)
        self.body_entered = False
        destination.sink.begin(event)
        self._begun_us = monotonic_us()

    @property
    def has_calls(self) -> bool:
        """Whether any model call was recorded."""
        return bool(self._calls)

    def add_call(self, call: ModelCall) -> None:
        """Record a model call now."""
        if call.model is None and self.model is not None:
            call = msgspec.structs.replace(call, model=self.model)
        if self.cost_function is not None and call.cost_usd is None:
            call = _with_own_cost(call, self.cost_function)
        if self._ended:
            self._add_late(call)
        else:
            self._calls.append(call)
            self.destination.sink.add_call(self.event.event_id, call)

    def _add_late(self, call: ModelCall) -> None:
        """Record a call that comes after the end, from a thread that outlives its task: as an execution of its own."""
        name = f"{self.event.task_name}{AFTER_ITS_END}"
        late = new_event(self.event.job_id, name, parent=self, tags=self.event.tags)
        self.destination.sink.finish(msgspec.structs.replace(late, status="success", calls=(call,)))

    def describe(self, event: TaskEvent) -> None:
        """Know more about the execution than when it began."""
        self.event = event
        self.destination.sink.begin(event)

    def finish(self, status: Status, error_type: str | None = None) -> None:
        """Close the execution."""
        if not self._calls and self.model is not None:
            self._calls.append(ModelCall(usage=Usage(), model=self.model))
        sink, selection = self.destination
        if not self._calls and selection.samples_out(self.event.event_id):
            self._ended = True
            sink.leave_out("sampled_out", self.event.event_id)
        else:
            sink.finish(self._end(status, error_type))

    def abort(self, error_type: str | None) -> None:
        """Something that is no ``Exception`` cuts the execution short; the worker's main process may know why."""
        self.destination.sink.abort(self._end("lost", error_type))

    def _end(self, status: Status, error_type: str | None) -> TaskEvent:
        latency_us = max(0, monotonic_us() - self._begun_us)
        self._ended = True
        self.event = msgspec.structs.replace(
            self.event,
            status=status,
            error_type=error_type,
            ended_at_us=now_us(),
            latency_us=latency_us,
            calls=tuple(self._calls),
        )
        return self.event


def _with_own_cost(call: ModelCall, cost_function: CostFunction) -> ModelCall:
    """Ask the user's cost function; whatever it does, the call is kept."""
    usage = call.usage
    if usage.total_tokens is None and not usage.split_is_known:
        return call
    try:
        answer = cost_function(call.model or "unknown", usage.token_count)
        return msgspec.structs.replace(call, cost_usd=_to_money(answer))
    except Exception as error:
        problem = f"the cost function failed or gave no finite number >= 0 ({type(error).__name__})"
        return msgspec.structs.replace(call, cost_usd=None, cost_problem=problem)


def _to_money(answer: Any) -> Decimal:
    """Turn a number into money; a float's shortest text is what its author meant: 0.1, not 0.1000000000000000055."""
    if isinstance(answer, bool):
        raise TypeError("a cost is a number")
    return answer if isinstance(answer, Decimal) else Decimal(str(answer))


def new_event(
    job_id: str, task_name: str, *, event_id: str | None = None, parent: Execution | None = None, **fields: Any
) -> TaskEvent:
    """The event of an execution that begins now, as it will be if the process dies before the next sign of life."""
    now = now_us()
    return TaskEvent(
        event_id=event_id or new_event_id(),
        parent_event_id=parent.event.event_id if parent else None,
        job_id=clean_text(job_id) or NO_JOB,
        task_name=clean_text(task_name) or "unknown",
        status="lost",
        started_at_us=now,
        ended_at_us=now,
        latency_us=0,
        **fields,
    )


def current_execution() -> Execution | None:
    """The innermost execution that runs here, if any."""
    return _execution.get()


def block_job() -> str | None:
    """The job of the surrounding ``job(...)`` block, if there is one inside of the running execution."""
    return _job.get()


def current_job() -> str | None:
    """The job of the surrounding ``job(...)`` block, else of the running execution."""
    execution = _execution.get()
    if execution is None or execution.event.job_id == NO_JOB:
        return _job.get()
    return _job.get() or execution.event.job_id


@contextlib.contextmanager
def running(execution: Execution | None) -> Iterator[None]:
    """Make an execution the current one for a while; an outer ``job(...)`` block does not reach into it."""
    if execution is None:  # nothing is recorded here: what is around stays
        yield
        return
    token, job_token = _execution.set(execution), _job.set(None)
    try:
        yield
    finally:
        _job.reset(job_token)
        _execution.reset(token)


def set_current(execution: Execution | None) -> None:
    """Make an execution the current one until the next call, for handlers that have no block to wrap."""
    _execution.set(execution)
    _job.set(None)


@contextlib.contextmanager
def job(job_id: str) -> Iterator[None]:
    """Name the job of everything published or monitored inside; a context manager and a decorator.

    >>> with job("nightly"):
    ...     current_job()
    'nightly'
    """
    token = _job.set(clean_text(job_id))
    try:
        yield
    finally:
        _job.reset(token)


def carry_context(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function run as part of the execution and job that are current here, in whatever thread it is called.

    A thread that a task starts is outside of its execution; what this function records there is counted inside.

    >>> from concurrent.futures import ThreadPoolExecutor
    >>> with job("nightly"), ThreadPoolExecutor() as pool:
    ...     list(pool.map(carry_context(lambda number: (number, current_job())), [1, 2]))
    [(1, 'nightly'), (2, 'nightly')]
    """
    context = contextvars.copy_context()

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        # A context can be entered once at a time, and a pool may run this in many threads.
        return context.copy().run(function, *args, **kwargs)

    return call


@guarded
def record_usage(
    response: Any = None,
    *,
    model: str | None = None,
    provider: str | None = None,
    input_tokens: int | None = None,
    output_tokens: int | None = None,
    total_tokens: int | None = None,
    cache_read_input_tokens: int | None = None,
    cache_write_input_tokens: int | None = None,
    reasoning_output_tokens: int | None = None,
    cost_usd: Decimal | float | str | None = None,
) -> None:
    """Record one model call of the running task or monitored function, as it happens.

    Args:
        response: A provider's response, or its usage object; or leave it out and give counts.
        model: The model's name; wins over what the response says.
        provider: The provider's name, such as ``openai``.
        input_tokens: All input tokens, cached ones included.
        output_tokens: All output tokens, reasoning included.
        total_tokens: The total, when input and output are not known apart.
        cache_read_input_tokens: Of the input, those read from a cache.
        cache_write_input_tokens: Of the input, those written to a cache.
        reasoning_output_tokens: Of the output, those spent on reasoning.
        cost_usd: What the call cost in USD, if you know it better than any price list.

    Outside of an execution, and with counts that cannot be true, nothing is recorded; nothing is ever raised.
    """
    execution = _execution.get()
    if execution is None:
        log_once_a_minute(
            "no_execution",
            logging.WARNING,
            "aurea-celery: record_usage was called outside of a task or monitored function, so nothing is recorded; "
            "a thread that a task starts is outside, unless it runs carry_context(function)",
        )
        return
    reading = read_response(response)
    usage = reading.usage if reading else read_usage(response)
    if usage is None:
        usage = Usage(
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            total_tokens=total_tokens,
            cache_read_input_tokens=cache_read_input_tokens,
            cache_write_input_tokens=cache_write_input_tokens,
            reasoning_output_tokens=reasoning_output_tokens,
        )
    said = reading.model if reading else None
    execution.counted.append(response)
    execution.add_call(
        ModelCall(
            usage=usage,
            provider=clean_text(provider) if provider else None,
            model=clean_text(model) if model else said or execution.model,
            response_model=said,
            service_tier=reading.service_tier if reading else None,
            cost_usd=None if cost_usd is None else _to_money(cost_usd),
        )
    )
