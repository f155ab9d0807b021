"""Looking at a value that nobody said is a response, without running any code of its own.

A task may return anything: a lazy object that a look wakes, a row that a look loads from the database, a proxy. So only
what lies there is seen: keys of dictionaries, instance dictionaries, slots, fields of pydantic's. Properties and
``__getattr__`` are asked only of SDKs whose answers compute their usage, which is known to do no harm.
"""

from __future__ import annotations

from types import GetSetDescriptorType, MemberDescriptorType, SimpleNamespace
from typing import Any, NamedTuple

from aurea_celery.events import Usage

COMPUTING_SDKS = ("google.generativeai.", "litellm.", "pydantic_ai.", "vertexai.", "xai_sdk.")
MAX_DETAILS = 64


class _Named(NamedTuple):
    field: None


LEAVES = (str, int, float, type(None), Usage)
SLOTS = (MemberDescriptorType, type(_Named.field))
PLAIN_LOOKUPS = [vars(kind)["__getattribute__"] for kind in (object, tuple, BaseException, SimpleNamespace)]
"""How types of Python's look a field up that have the same way as ``object``, each under a name of its own."""


class PassiveView:
    """What can be seen of a value; what it consists of is seen in the same way.

    >>> class Answer:
    ...     def __init__(self) -> None:
    ...         self.model = "gpt-4"
    ...     @property
    ...     def usage(self) -> None:
    ...         raise RuntimeError("woken")
    >>> view = view_of(Answer())
    >>> view.get("model"), view.get("usage")
    ('gpt-4', None)
    """

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value

    def get(self, name: str) -> Any:
        """Return a field of the value; None if it has none that can be seen."""
        return view_of(_field(self._value, name))


def view_of(value: Any) -> Any:
    """Return a view of a value; plain values, and answers of SDKs that compute, stand for themselves."""
    kind = type(value)
    if issubclass(kind, LEAVES) or f"{kind.__module__}.".startswith(COMPUTING_SDKS):
        return value
    if kind is list:
        return [view_of(one) for one in value] if len(value) <= MAX_DETAILS else None
    return PassiveView(value)


def _field(source: Any, name: str) -> Any:
    """Return what lies in an object under a name, as ``inspect.getattr_static`` does, in less time."""
    kind = type(source)
    if issubclass(kind, dict):
        return dict.get(source, name)
    if _declared(kind, "__getattribute__") not in PLAIN_LOOKUPS:
        return None  # a class, a module or a proxy
    declared = _declared(kind, name)
    if issubclass(type(declared), SLOTS):
        return _value_of(declared, source)
    fields = _value_of(_declared(kind, "__dict__"), source)
    if isinstance(fields, dict) and name in fields:
        return fields[name]
    if declared is None:
        return _extra_field(source, name)
    return None if hasattr(type(declared), "__get__") else declared


def _declared(kind: type, name: str) -> Any:
    """Return what a class or one of those above it says of a name, as it is written there; None if none does."""
    for base in kind.__mro__:
        if name in base.__dict__:
            return base.__dict__[name]
    return None


def _extra_field(source: Any, name: str) -> Any:
    """Return a field that a model of pydantic's was given and does not declare."""
    extra = _value_of(_declared(type(source), "__pydantic_extra__"), source)
    return extra.get(name) if type(extra) is dict else None


def _value_of(descriptor: Any, source: Any) -> Any:
    """Return what the interpreter keeps for a descriptor; None if nothing is there, or if it is a property."""
    if not issubclass(type(descriptor), (*SLOTS, GetSetDescriptorType)):
        return None
    try:
        return descriptor.__get__(source)
    except AttributeError:
        return None
