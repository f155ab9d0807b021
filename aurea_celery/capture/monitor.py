"""``monitor_task``: the decorator for functions, coroutines, generators and Celery tasks."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import logging
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any, TypeVar, cast, overload

import msgspec
from celery.local import PromiseProxy, Proxy

from aurea_celery._guard import guarded, log_once_a_minute
from aurea_celery.capture.budgets import refusal_of
from aurea_celery.capture.calls import pass_on
from aurea_celery.capture.context import (
    NO_JOB,
    CostFunction,
    Execution,
    current_block,
    current_execution,
    current_job,
    new_event,
    running,
)
from aurea_celery.capture.error_types import error_type_of
from aurea_celery.capture.jobs import name_job_of_body
from aurea_celery.capture.registry import default_destination, is_off
from aurea_celery.capture.results import count_result
from aurea_celery.capture.tags import merged_tags
from aurea_celery.events import clean_text

logger = logging.getLogger("aurea_celery")

F = TypeVar("F", bound=Callable[..., Any])


@dataclasses.dataclass(frozen=True, eq=False)
class _Monitor:
    """What the decorator was told."""

    job_id: str | None
    task_name: str | None
    model: str | None
    cost_function: CostFunction | None
    function_name: str = "unknown"

    @guarded
    def begin(self, marker: object) -> Execution | None:
        """The execution for a call: the task's own if the call is the task's body, else a new one."""
        around = current_execution()
        if around is not None and not around.body_entered and _is_body(around.task, marker):
            self._describe(around)
            return around
        destination = around.destination if around is not None else default_destination()
        if destination is None and is_off():
            return None
        if destination is None:
            log_once_a_minute(
                "no_sink",
                logging.WARNING,
                "aurea-celery: monitor_task has nowhere to send to, so nothing is recorded; "
                "call Aurea(app) with your Celery app first",
            )
            return None
        block = current_block()
        row_tags = around.event.tags if around is not None else destination.selection.static_tags
        event = new_event(
            self.job_id or current_job() or NO_JOB,
            self.task_name or self.function_name,
            parent=around,
            tags=merged_tags(block.tags, row_tags),
        )
        named = bool(self.job_id or block.job_id or (around is not None and around.job_is_named))
        tags = merged_tags(block.tags, around.tags if around is not None else {})
        execution = Execution(destination, event, model=self.model, job_is_named=named, tags=tags)
        execution.cost_function = self.cost_function
        return execution

    def _describe(self, execution: Execution) -> None:
        """Give the running task's execution what the decorator on its body says."""
        execution.body_entered = True
        execution.job_is_named = execution.job_is_named or bool(self.job_id)
        execution.model = self.model
        execution.cost_function = self.cost_function
        if self.job_id or self.task_name:
            execution.describe(
                msgspec.structs.replace(
                    execution.event,
                    job_id=clean_text(self.job_id) if self.job_id else execution.event.job_id,
                    task_name=clean_text(self.task_name) if self.task_name else execution.event.task_name,
                )
            )

    def admit(self, execution: Execution | None) -> None:
        """Let a call run. A task was let in before its body, unless the decorator gives it another job or name.

        Raises:
            BudgetExceeded: If a budget is used up.
        """
        if execution is None or (execution.task is not None and not (self.job_id or self.task_name)):
            return
        refusal = refusal_of(execution)
        if refusal is not None:
            raise refusal

    @guarded
    def end(self, execution: Execution | None, result: Any = None, error: BaseException | None = None) -> None:
        """Close the execution, unless it is a running task's, which Celery's signals close."""
        if execution is None:
            return
        if error is None:
            count_result(execution, result, monitored=True)
        if execution.task is not None:
            return
        around = current_execution()
        _finish(execution, error, inside_a_task=around is not None)
        if around is not None:
            around.note_counted(*execution.counted)
            pass_on(execution, around)
            if execution.has_calls:
                around.note_counted(result)


def _finish(execution: Execution, error: BaseException | None, *, inside_a_task: bool) -> None:
    """Close the execution of a call as Celery's signals do that of a task."""
    name = error_type_of(error)
    if inside_a_task and isinstance(error, SystemExit):
        execution.abort(name)  # so do a time limit and a termination end a task: what is said of it holds here too
    elif type(error).__name__ == "SoftTimeLimitExceeded":
        execution.finish("timeout", name)
    else:
        execution.finish("success" if error is None else "failure", name)


@overload
def monitor_task(job_id: F) -> F: ...


@overload
def monitor_task(
    job_id: str | None = None,
    task_name: str | None = None,
    model_used: str | None = None,
    estimate_cost_fn: CostFunction | None = None,
) -> Callable[[F], F]: ...


def monitor_task(
    job_id: str | Callable[..., Any] | None = None,
    task_name: str | None = None,
    model_used: str | None = None,
    estimate_cost_fn: CostFunction | None = None,
) -> Any:
    """Record every call of a function: its latency, tokens and cost.

    The function's value, exceptions, signature and typing stay as they are.

    Raises:
        BudgetExceeded: By the function, before it runs, if a budget of its job is used up that says ``block``.

    Args:
        job_id: The job to count the call under; left out, the surrounding ``job(...)`` block's or task's. A decorator
            without parentheses is given the function here.
        task_name: The name to count it under; left out, the function's qualified name.
        model_used: The model; left out, whatever the recorded usage says.
        estimate_cost_fn: ``(model_name, token_count) -> USD``; wins over every price list.

    Tokens are taken from a returned ``(result, tokens)`` pair, a dict with ``tokens`` or ``usage``, or a provider's
    response, unless :func:`aurea_celery.record_usage` recorded calls during the run: those are exact already.

    >>> @monitor_task("job_1", "greet", "gpt-4")
    ... def greet(name: str) -> tuple[str, int]:
    ...     return f"Hello {name}", 12
    >>> greet("Ada")
    ('Hello Ada', 12)
    """
    model = None if model_used is None else clean_text(model_used)
    if callable(job_id):
        return _decorate(_Monitor(None, task_name, model, estimate_cost_fn), job_id)

    monitor = _Monitor(job_id, task_name, model, estimate_cost_fn)

    def decorate(function: F) -> F:
        return _decorate(monitor, function)

    return decorate


def _decorate(monitor: _Monitor, function: F) -> F:
    if type(function) is Proxy:
        return _refuse_shared_task(function)
    if type(function) is PromiseProxy or hasattr(type(function), "apply_async"):
        return cast("F", _monitor_celery_task(monitor, function))
    return cast("F", _wrap(monitor, function))


def _refuse_shared_task(task: F) -> F:
    """A shared task is another object in each app: its body cannot be reached from outside. It stays as it is."""
    logger.warning(
        "aurea-celery: monitor_task stands above shared_task, where it has no effect; put it next to the function"
    )
    return task


def _monitor_celery_task(monitor: _Monitor, task: Any) -> Any:
    """Monitor the body of a Celery task that is decorated from outside; the task stays the task."""

    def wrap_body() -> None:
        task.run = _wrap(monitor, task.run)

    if type(task) is PromiseProxy:
        task.__then__(wrap_body)  # to look into it now would make the task before its app is configured
    else:
        wrap_body()
    return task


def _is_body(task: Any, marker: object) -> bool:
    """Whether a wrapper is what a task runs, below autoretry and the like."""
    body = getattr(task, "run", None)
    while body is not None:
        body = getattr(body, "__func__", body)
        if body is marker:
            return True
        body = getattr(body, "__wrapped__", None)
    return False


def _wrap(monitor: _Monitor, function: Any) -> Any:
    name = getattr(function, "__qualname__", None) or getattr(function, "name", None)
    call = _wrap_kind(dataclasses.replace(monitor, function_name=f"{name or 'unknown'}"), function)
    if monitor.job_id:
        name_job_of_body(call, monitor.job_id)
    return call


def _wrap_kind(monitor: _Monitor, function: Any) -> Any:
    if inspect.isasyncgenfunction(function):
        return _wrap_async_generator(monitor, function)
    if inspect.isgeneratorfunction(function):
        return _wrap_generator(monitor, function)
    if inspect.iscoroutinefunction(function):
        return _wrap_coroutine(monitor, function)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        execution = monitor.begin(call)
        try:
            monitor.admit(execution)
            with running(execution):
                result = function(*args, **kwargs)
        except BaseException as error:
            monitor.end(execution, error=error)
            raise
        monitor.end(execution, result)
        return result

    return call


def _wrap_coroutine(monitor: _Monitor, function: Any) -> Any:
    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        execution = monitor.begin(call)
        try:
            monitor.admit(execution)
            with running(execution):
                result = await function(*args, **kwargs)
        except BaseException as error:
            monitor.end(execution, error=error)
            raise
        monitor.end(execution, result)
        return result

    return call


def _wrap_generator(monitor: _Monitor, function: Any) -> Any:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        generator = function(*args, **kwargs)
        execution = monitor.begin(call)
        resume = functools.partial(next, generator)
        try:
            monitor.admit(execution)
            while True:
                # The consumer's code between two items is not ours: the execution is current only inside.
                with running(execution):
                    item = resume()
                try:
                    sent = yield item
                    resume = functools.partial(generator.send, sent)
                except GeneratorExit:
                    generator.close()
                    raise
                except BaseException as thrown:
                    resume = functools.partial(generator.throw, thrown)
        except StopIteration as stop:
            monitor.end(execution, stop.value)
            return stop.value
        except GeneratorExit:
            monitor.end(execution)
            raise
        except BaseException as error:
            monitor.end(execution, error=error)
            raise

    return call


def _wrap_async_generator(monitor: _Monitor, function: Any) -> Any:
    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        generator = function(*args, **kwargs)
        execution = monitor.begin(call)
        resume = generator.__anext__
        try:
            monitor.admit(execution)
            while True:
                with running(execution):
                    item = await resume()
                try:
                    sent = yield item
                    resume = functools.partial(generator.asend, sent)
                except GeneratorExit:
                    await generator.aclose()
                    raise
                except BaseException as thrown:
                    resume = functools.partial(generator.athrow, thrown)
        except StopAsyncIteration:
            monitor.end(execution)
        except GeneratorExit:
            monitor.end(execution)
            raise
        except BaseException as error:
            monitor.end(execution, error=error)
            raise

    return call
