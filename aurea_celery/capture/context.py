"""The running execution and the job it belongs to, carried in context variables.

An :class:`Execution` is one attempt of a task or one monitored call while it runs. Its model calls are handed to
delivery when they happen, so that spend survives a kill in the middle.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from decimal import Decimal
from types import TracebackType
from typing import Any, NamedTuple, ParamSpec, TypeVar, cast

import msgspec

from aurea_celery.capture.registry import Destination
from aurea_celery.capture.tags import GivenTags, read_tags
from aurea_celery.clock import monotonic_us, new_event_id, now_us
from aurea_celery.events import ModelCall, Status, TaskEvent, Usage, clean_text

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])

CostFunction = Callable[[str, int], Any]
NO_JOB = "none"
AFTER_ITS_END, IN_A_FORK = " (after its end)", " (in a forked process)"

_forks = 0
"""How often this process and those before it were forked: an execution is only one process's."""


def _note_fork() -> None:
    global _forks  # noqa: PLW0603 - it belongs to the process
    _forks += 1


os.register_at_fork(after_in_child=_note_fork)
MOST_COUNTED = 64


class Block(NamedTuple):
    """What the ``job(...)`` blocks inside of the running execution say: the innermost job, and the tags of all."""

    job_id: str | None
    tags: GivenTags


NO_BLOCK = Block(None, {})

_execution: ContextVar[Execution | None] = ContextVar("aurea_execution", default=None)
_block: ContextVar[Block] = ContextVar("aurea_block", default=NO_BLOCK)


class Execution:
    """One attempt of a task or one monitored call, while it runs.

    ``counted`` are the objects whose usage was counted last: a caller that hands the same object on does not count it
    again. ``counted_result`` is what the body returned, if its usage was counted. ``job_is_named`` says whether
    somebody named its job, or the job is a canvas. ``tags`` are those that what it sends and calls inherits; its row
    has the settings' besides. ``told`` are the calls that only one side told of so far, see
    :mod:`aurea_celery.capture.calls`. ``open_streams`` are those whose call is recorded when they end, at the latest
    with the execution.
    """

    __slots__ = (
        "_begun_us",
        "_calls",
        "_ended",
        "_forks",
        "body_entered",
        "cost_function",
        "counted",
        "counted_result",
        "destination",
        "event",
        "job_is_named",
        "model",
        "open_streams",
        "tags",
        "task",
        "told",
    )

    def __init__(
        self,
        destination: Destination,
        event: TaskEvent,
        *,
        job_is_named: bool,
        tags: Mapping[str, str],
        model: str | None = None,
        task: Any = None,
    ) -> None:
        self.destination = destination
        self._calls: list[ModelCall] = []
        self._ended = False
        self._forks = _forks
        self.event = event
        self.job_is_named = job_is_named
        self.tags = tags
        self.model = model
        self.task = task
        self.cost_function: CostFunction | None = None
        self.counted: tuple[Any, ...] = ()
        self.counted_result: Any = None
        self.body_entered = False
        self.told: Any = None
        self.open_streams: set[Callable[[], object]] | None = None
        destination.sink.begin(event)
        self._begun_us = monotonic_us()

    @property
    def has_calls(self) -> bool:
        """Whether any model call was recorded."""
        return bool(self._calls)

    def note_counted(self, *objects: Any) -> None:
        """Remember objects whose usage was counted."""
        self.counted = (*self.counted, *objects)[-MOST_COUNTED:]

    def add_call(self, call: ModelCall) -> int | None:
        """Record a model call now; what comes back is its place among the calls, None after the end."""
        call = self._completed(call)
        if self._ended or self._forks != _forks:
            self._add_apart(call)
            return None
        self._calls.append(call)
        self.destination.sink.add_call(self.event.event_id, call)
        return len(self._calls) - 1

    def correct_call(self, place: int, call: ModelCall) -> None:
        """Put what is known better now in the place of a recorded call; after the end its row is on its way already."""
        if not self._ended:
            self._calls[place] = self._completed(call)

    def _completed(self, call: ModelCall) -> ModelCall:
        if call.model is None and self.model is not None:
            call = msgspec.structs.replace(call, model=self.model)
        if self.cost_function is not None and call.cost_usd is None:
            call = _with_own_cost(call, self.cost_function)
        return call

    def _add_apart(self, call: ModelCall) -> None:
        """Record a call that cannot be added to the row, as an execution of its own.

        It comes after the end, from a thread that outlives its task, or from a process that the task has forked.
        """
        where = AFTER_ITS_END if self._forks == _forks else IN_A_FORK
        apart = new_event(self.event.job_id, f"{self.event.task_name}{where}", parent=self, tags=self.event.tags)
        self.destination.sink.finish(msgspec.structs.replace(apart, status="success", calls=(call,)))

    def describe(self, event: TaskEvent) -> None:
        """Know more about the execution than when it began."""
        self.event = msgspec.structs.replace(event, calls=tuple(self._calls))
        self.destination.sink.begin(self.event)

    def finish(self, status: Status, error_type: str | None = None) -> None:
        """Close the execution."""
        self._end_streams()
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
        self._end_streams()
        self.destination.sink.abort(self._end("lost", error_type))

    def _end_streams(self) -> None:
        for end_stream in tuple(self.open_streams or ()):
            end_stream()

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
    """Ask the user's cost function."""
    usage = call.usage
    if usage.total_tokens is None and not usage.split_is_known:
        return call
    answer = functools.partial(cost_function, call.model or "unknown", usage.token_count)
    return with_cost(call, answer, "the cost function failed or gave")


def with_cost(call: ModelCall, answer: Callable[[], Any], who: str) -> ModelCall:
    """A call with the cost that the user answers with; whatever that is, the call is kept."""
    try:
        return msgspec.structs.replace(call, cost_usd=to_money(answer()))
    except Exception as error:
        problem = f"{who} no finite number >= 0 ({type(error).__name__})"
        return msgspec.structs.replace(call, cost_usd=None, cost_problem=problem)


def to_money(answer: Any) -> Decimal:
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


def current_block() -> Block:
    """Return what the ``job(...)`` blocks around say that are inside of the running execution."""
    return _block.get()


def current_job() -> str | None:
    """The job of the surrounding ``job(...)`` block, else of the running execution."""
    execution = _execution.get()
    if execution is None or execution.event.job_id == NO_JOB:
        return _block.get().job_id
    return _block.get().job_id or execution.event.job_id


@contextlib.contextmanager
def running(execution: Execution | None) -> Iterator[None]:
    """Make an execution the current one for a while; an outer ``job(...)`` block does not reach into it."""
    if execution is None:  # nothing is recorded here: what is around stays
        yield
        return
    token, block_token = _execution.set(execution), _block.set(NO_BLOCK)
    try:
        yield
    finally:
        _block.reset(block_token)
        _execution.reset(token)


def set_current(execution: Execution | None, block: Block = NO_BLOCK) -> None:
    """Make an execution, and a block, current until the next call, for handlers that have no block to wrap."""
    _execution.set(execution)
    _block.set(block)


def carry_current(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function run inside of the execution and the block that are current here; all other context is its own."""
    execution, block = _execution.get(), _block.get()
    return function if execution is None and block is NO_BLOCK else functools.partial(_run, execution, block, function)


def _run(execution: Execution | None, block: Block, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    with running(execution):
        token = _block.set(block)
        try:
            return function(*args, **kwargs)
        finally:
            _block.reset(token)


class JobBlock:
    """What :func:`job` makes: a context manager for one use, and a decorator."""

    def __init__(self, block: Block) -> None:
        self._block = block
        self._token: contextvars.Token[Block] | None = None

    def __enter__(self) -> None:
        self._token = _block.set(Block(self._block.job_id, {**_block.get().tags, **self._block.tags}))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            _block.reset(self._token)

    def __call__(self, function: F) -> F:
        """Run a function, or a coroutine, inside of the block."""
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError("job(...) cannot decorate a generator; give the job to monitor_task(job_id=...) instead")
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def run(*args: Any, **kwargs: Any) -> Any:
                with JobBlock(self._block):
                    return await function(*args, **kwargs)

            return cast("F", run)

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with JobBlock(self._block):
                return function(*args, **kwargs)

        return cast("F", call)


def job(job_id: str, tags: Mapping[str, Any] | None = None) -> JobBlock:
    """Name the job of everything published or monitored inside; a context manager and a decorator.

    Args:
        job_id: The job.
        tags: Tags that all of it has; they are added to those of blocks and tasks around.

    Raises:
        TypeError: As a decorator of a generator function, whose body runs outside of any block, or without a job.

    >>> with job("nightly"):
    ...     current_job()
    'nightly'
    """
    if callable(job_id):
        raise TypeError('job needs a name: write @job("nightly")')
    return JobBlock(Block(clean_text(job_id), read_tags(tags)))


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
