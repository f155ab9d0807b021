"""The class of the exception that ended an execution, as the user raised it."""

from __future__ import annotations

from celery.exceptions import Retry
from celery.utils.serialization import UnpickleableExceptionWrapper


def error_type_of(error: BaseException | None) -> str | None:
    """Return the name of an exception's class; of a ``Retry``, that of the exception for which the task is retried.

    >>> error_type_of(Retry(exc=ValueError())), error_type_of(Retry()), error_type_of(None)
    ('ValueError', 'Retry', None)
    """
    if isinstance(error, Retry):
        return error_type_of(_cause_of(error)) or type(error).__name__
    if isinstance(error, UnpickleableExceptionWrapper):
        return str(error.exc_cls_name)
    return None if error is None else type(error).__name__


def _cause_of(retry: Retry) -> BaseException | None:
    """Return why a task is retried; None if nobody said so.

    ``retry.exc`` may be of a base class: Celery puts the nearest one there that can be pickled.
    """
    given = next((one for one in (*retry.args[1:2], retry.exc) if isinstance(one, BaseException)), None)
    around = retry.__cause__ or retry.__context__
    return given or (None if isinstance(around, Retry) else around)
