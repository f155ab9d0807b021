"""What a task returns is looked at without waking it: nothing of it runs."""

from __future__ import annotations

import functools
from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from unittest.mock import MagicMock, Mock

import msgspec
import pydantic
import pytest
import sqlalchemy as sa
from anthropic.types import Message
from celery import Celery, signals
from celery.app.task import Context
from celery.local import PromiseProxy, Proxy
from django.utils.functional import SimpleLazyObject, lazy
from google import genai
from langchain_core.messages import AIMessage
from openai.types.chat import ChatCompletion
from sqlalchemy import orm
from werkzeug.local import LocalProxy

from aurea_celery import monitor_task
from aurea_celery.testing import Recorder, recording
from aurea_celery.usage import read_response, view_of
from tests.support import golden

USAGE = {"prompt_tokens": 9, "completion_tokens": 1}
woken: list[str] = []
"""Whatever of a value's own has run."""


def wake(*_: Any) -> Any:
    """Note that something of a value's own runs."""
    woken.append("woken")
    return {"usage": USAGE}


class Computing:
    def __getattr__(self, name: str) -> Any:
        return wake()


class Watching:
    usage = USAGE

    def __getattribute__(self, name: str) -> Any:
        return wake()


class Asking:
    usage = usage_metadata = property(wake)
    meta = functools.cached_property(wake)

    def usageMetadata(self) -> Any:  # noqa: N802 - Gemini's name
        return wake()


class Disguised:
    __class__ = property(wake)  # as a proxy has it
    __dict__ = property(wake)


class OfTheClass:
    usage = meta = LocalProxy(wake)


class Touchy(Mapping[str, Any]):
    def __getitem__(self, name: str) -> Any:
        return wake()

    def __iter__(self) -> Iterator[str]:
        return iter([str(wake())])

    def __len__(self) -> int:
        return len(wake())


class TouchyDict(dict[str, Any]):
    get = __getitem__ = __missing__ = __contains__ = __len__ = __bool__ = __eq__ = wake
    __hash__ = None


class TouchyPair(tuple[Any, ...]):
    __getitem__ = __len__ = __iter__ = __bool__ = __eq__ = wake
    __hash__ = None  # type: ignore[assignment]


class Base(orm.DeclarativeBase):
    """What SQLAlchemy maps."""


class Article(Base):
    __tablename__ = "articles"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    usage: orm.Mapped[str] = orm.mapped_column(deferred=True)
    meta: orm.Mapped[str]


def expired_row() -> Article:
    """A row of SQLAlchemy's that any look at a column loads again."""
    engine = sa.create_engine("sqlite://")
    Base.metadata.create_all(engine)
    session = orm.Session(engine)
    article = Article(id=1, usage="text", meta="text")
    session.add(article)
    session.commit()
    sa.event.listen(engine, "before_cursor_execute", wake)
    return article


VALUES: dict[str, Callable[[], Any]] = {
    "__getattr__": Computing,
    "__getattribute__": Watching,
    "properties": Asking,
    "__class__": Disguised,
    "of the class": OfTheClass,
    "a mapping": Touchy,
    "a dictionary": lambda: TouchyDict(name=1),
    "a pair": lambda: TouchyPair((1, 2)),
    "of Django": lambda: SimpleLazyObject(wake),
    "a lazy text of Django": lazy(wake, str),
    "of Werkzeug": lambda: LocalProxy(wake),
    "of Celery": lambda: Proxy(wake),
    "a promise of Celery": lambda: PromiseProxy(wake),
    "of SQLAlchemy": expired_row,
}
WITHIN: dict[str, Callable[[Any], Any]] = {
    "itself": lambda value: value,
    "usage": lambda value: {"usage": value},
    "meta": lambda value: {"meta": value},
    "details": lambda value: {"usage": USAGE | {"prompt_tokens_details": value}},
    "tokens": lambda value: {"tokens": value},
    "second": lambda value: ("text", value),
    "response": lambda value: {"usage": USAGE, "response": value, "response_metadata": value, "metrics": value},
}


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    app = Celery("unit", broker="memory://", set_as_current=False)
    woken.clear()
    with recording(app) as recorder:
        yield recorder
    app.close()


@pytest.mark.parametrize("within", WITHIN)
@pytest.mark.parametrize("name", VALUES)
def test_a_value_is_not_woken(recorder: Recorder, name: str, within: str) -> None:
    value = WITHIN[within](VALUES[name]())

    assert monitor_task()(lambda: value)() is value

    assert recorder.last.status == "success"
    assert woken == []


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.usefixtures("recorder")
def test_nor_is_what_a_task_without_the_decorator_returns(name: str) -> None:
    """Celery itself prints and stores what a task returns: the end of the task alone is ours."""
    value = VALUES[name]()
    task = app_with_a_task().tasks["unit.give"]
    with recording(task.app) as mine:
        task.request_stack.push(Context(id="an id"))
        signals.task_prerun.send(sender=task, task=task)
        signals.task_postrun.send(sender=task, task=task, retval=value, state="SUCCESS")
        task.request_stack.pop()

    assert [event.status for event in mine.finished] == ["success"]
    assert woken == []


def app_with_a_task() -> Celery:
    """An app with a task."""
    app = Celery("unit", broker="memory://", set_as_current=False)

    @app.task(name="unit.give", shared=False)
    def give() -> None:
        """Do nothing."""

    return app


class Tuple(NamedTuple):
    model: str
    usage: Any


class Struct(msgspec.Struct):
    model: str
    usage: Any


@dataclass
class Data:
    model: str
    usage: Any


@dataclass(slots=True)
class Slots:
    model: str
    usage: Any


class Model(pydantic.BaseModel):
    model: str
    usage: Any


class Open(pydantic.BaseModel, extra="allow"):
    model: str


class Subclass(dict[str, Any]):
    """What a wrapper around an answer often is."""


@pytest.mark.parametrize(
    "kind", [dict, Subclass, Tuple, Struct, Data, Slots, Model, Open, namedtuple("Old", "model usage")]
)
@pytest.mark.parametrize("of_usage", [dict, pydantic.create_model("Usage", __base__=Open, model=(str, ""))])
def test_what_lies_there_is_seen(kind: Callable[..., Any], of_usage: Callable[..., Any]) -> None:
    reading = read_response(view_of(kind(model="gpt-4", usage=of_usage(**USAGE))))

    assert reading is not None
    assert (reading.model, reading.usage.token_count) == ("gpt-4", 10)


@pytest.mark.parametrize("name", golden.names())
@pytest.mark.parametrize("form", [lambda answer: answer, golden.as_object], ids=["mapping", "object"])
def test_every_golden_answer_is_seen_the_same(name: str, form: Callable[[Any], Any]) -> None:
    answer = form(golden.answer(name))

    assert read_response(view_of(answer)) == read_response(answer)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (ChatCompletion, "openai/chat/audio"),
        (ChatCompletion, "openrouter/chat/cached"),
        (ChatCompletion, "litellm/chat/anthropic_cached_by_age"),
        (Message, "anthropic/messages/cached"),
        (genai.types.GenerateContentResponse, "google/generate_content/tools"),
        (AIMessage, "langchain/message/openai_flex"),
    ],
)
def test_the_sdks_own_types_are_seen(kind: Any, name: str) -> None:
    answer, expected = golden.case(name)

    assert read_response(view_of(kind.model_validate(answer))) == expected


@pytest.mark.parametrize("mock", [Mock(), MagicMock(), MagicMock(spec=dict), Mock, object()])
def test_a_mock_is_no_response(mock: Any) -> None:
    assert read_response(view_of(mock)) is None
