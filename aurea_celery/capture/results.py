"""Usage in what a function or task returns."""

from __future__ import annotations

from typing import Any

from aurea_celery._guard import guarded
from aurea_celery.capture.context import Execution
from aurea_celery.errors import UsageError
from aurea_celery.events import ModelCall, Usage
from aurea_celery.usage import Reading, read_response, read_usage, view_of
from aurea_celery.usage.fields import text

PAIR = 2


def read_result(result: Any) -> Reading | None:
    """The usage in what a monitored function returns: ``(result, tokens)``, ``{"tokens": n}``, or a response.

    Nothing of the result is run or woken: only what lies in it is seen.
    """
    kind = type(result)
    if issubclass(kind, tuple) and tuple.__len__(result) == PAIR:
        told = view_of(tuple.__getitem__(result, 1))
        usage = _total(told) or read_usage(told)
        return Reading(usage) if usage else None
    view = view_of(result)
    if issubclass(kind, dict):
        usage = _total(view.get("tokens"))
        if usage is not None:
            return Reading(usage)
    reading = read_response(view)
    if reading is None and issubclass(kind, Usage):
        return Reading(result)
    return reading


@guarded
def count_result(execution: Execution, result: Any, *, monitored: bool) -> None:
    """Count the usage in a result, unless it was recorded during the run or by the call that made the result.

    Of a task without ``monitor_task`` only a provider's response counts: a pair with a number in it may mean anything.
    """
    if execution.has_calls or result is None or any(result is one for one in execution.counted):
        return
    contradiction = None
    try:
        reading = read_result(result) if monitored else read_response(view_of(result))
    except UsageError as error:  # the call was made, whatever it used
        reading, contradiction = Reading(Usage(), model=text(view_of(result), "model")), error
    if reading is not None:
        execution.note_counted(result)
        execution.counted_result = result
        execution.add_call(
            ModelCall(
                usage=reading.usage,
                provider=reading.provider,
                model=execution.model or reading.model,
                response_model=reading.model,
                service_tier=reading.service_tier,
            )
        )
    if contradiction is not None:
        raise contradiction


def _total(value: Any) -> Usage | None:
    return Usage(total_tokens=value) if type(value) is int and value >= 0 else None
