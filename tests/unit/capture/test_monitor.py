"""``monitor_task`` as the contract has it."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery, shared_task
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aurea_celery import Usage, job, monitor_task, record_usage
from aurea_celery.capture.context import current_job
from aurea_celery.testing import recording
from tests.support.sinks import RecordingSink

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.tuples(inner, inner) | st.lists(inner) | st.dictionaries(st.sampled_from(["tokens", "usage", "x"]), inner)
    ),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=ANYTHING)
def test_any_value_reaches_the_caller_unchanged(value: object, sink: RecordingSink) -> None:
    @monitor_task("job", "task", "gpt-4")
    def give() -> object:
        return value

    assert give() is value
    assert sink.last.status == "success"


@pytest.mark.parametrize(
    ("value", "tokens"),
    [
        (("text", 12), 12),
        (("text", 0), 0),
        ({"summary": "text", "tokens": 1500}, 1500),
        (("text", Usage(input_tokens=3, output_tokens=4)), 7),
        (("text", {"prompt_tokens": 5, "completion_tokens": 6}), 11),
        ({"usage": {"input_tokens": 5, "output_tokens": 6}}, 11),
        (SimpleNamespace(model="m", usage=SimpleNamespace(prompt_tokens=1, completion_tokens=2)), 3),
        (("text", True), None),
        (("text", -1), None),
        (("text", 1.5), None),
        (("text", "12"), None),
        (("a", 1, 2), None),
        ({"tokens": True}, None),
        ({"tokens": -5}, None),
        ("text", None),
        (None, None),
    ],
)
def test_tokens_in_what_is_returned(sink: RecordingSink, value: object, tokens: int | None) -> None:
    assert monitor_task("job", "task", "gpt-4")(lambda: value)() is value

    (call,) = sink.last.calls
    known = call.usage.total_tokens is not None or call.usage.split_is_known
    assert (call.usage.token_count if known else None) == tokens, "not known is not zero"


def test_signature_name_docstring_and_module_survive() -> None:
    def generate(prompt: str, *, limit: int = 3) -> tuple[str, int]:
        """Generate a text."""
        return prompt, limit

    monitored = monitor_task("job", "task", "gpt-4")(generate)

    assert inspect.signature(monitored) == inspect.signature(generate)
    assert (monitored.__name__, monitored.__doc__) == ("generate", "Generate a text.")
    assert monitored("a", limit=4) == ("a", 4)


def test_an_exception_passes_unchanged_and_leaves_a_row(sink: RecordingSink) -> None:
    error = ValueError("a secret")

    @monitor_task("job", "task", "gpt-4")
    def fail() -> None:
        record_usage(total_tokens=5)
        raise error

    with pytest.raises(ValueError, match="a secret") as caught:
        fail()

    assert caught.value is error
    assert (sink.last.status, sink.last.error_type, sink.tokens) == ("failure", "ValueError", 5)
    assert "secret" not in repr(sink.finished)


def test_everything_may_be_left_out(sink: RecordingSink) -> None:
    @monitor_task()
    def nameless() -> None:
        record_usage(model="gpt-4", input_tokens=1, output_tokens=2)

    with job("around"):
        nameless()
    nameless()

    assert [event.job_id for event in sink.finished] == ["around", "none"]
    assert sink.last.task_name.endswith("nameless")
    assert sink.last.calls[0].model == "gpt-4"


def test_methods_and_class_methods(sink: RecordingSink) -> None:
    class Service:
        @monitor_task("job", "method", "gpt-4")
        def method(self) -> tuple[str, int]:
            return "x", 1

        @classmethod
        @monitor_task("job", "class", "gpt-4")
        def of_class(cls) -> tuple[type, int]:
            return cls, 2

    assert Service().method() == ("x", 1)
    assert Service.of_class() == (Service, 2)
    assert sink.tokens == 3


def test_coroutines(sink: RecordingSink) -> None:
    @monitor_task("job", "task", "gpt-4")
    async def ask(tokens: int) -> tuple[str, int]:
        await asyncio.sleep(0)
        return "x", tokens

    async def main() -> list[tuple[str, int]]:
        return await asyncio.gather(*(ask(tokens) for tokens in range(10)))

    assert inspect.iscoroutinefunction(ask)
    assert asyncio.run(main()) == [("x", tokens) for tokens in range(10)]
    assert sink.tokens == sum(range(10))
    assert len(sink.finished) == 10


def consume(monitored: Callable[[], Iterator[int]], count: int) -> list[int]:
    iterator = monitored()
    taken = [next(iterator) for _ in range(count)]
    iterator.close()  # type: ignore[attr-defined]  # it is a generator
    return taken


@pytest.mark.parametrize("count", [1, 3])
def test_generators_last_until_they_are_exhausted_or_closed(sink: RecordingSink, count: int) -> None:
    closed = []

    @monitor_task("job", "stream", "gpt-4")
    def stream() -> Iterator[int]:
        try:
            for number in range(3):
                record_usage(total_tokens=1)
                yield number
        finally:
            closed.append(True)

    assert consume(stream, count) == list(range(count))
    assert closed == [True]
    assert sink.last.status == "success"
    assert sink.tokens == count


def test_generators_pass_on_what_is_sent_thrown_and_returned(sink: RecordingSink) -> None:
    @monitor_task("job", "stream", "gpt-4")
    def echo() -> Generator[Any, Any, tuple[str, int]]:
        try:
            received = yield "first"
            yield received
        except KeyError:
            yield "caught"
        return "done", 9

    generator = echo()
    assert next(generator) == "first"
    assert generator.send("sent") == "sent"
    assert generator.throw(KeyError()) == "caught"
    with pytest.raises(StopIteration) as stopped:
        next(generator)
    assert stopped.value.value == ("done", 9)
    assert sink.tokens == 9


def test_async_generators(sink: RecordingSink) -> None:
    @monitor_task("job", "stream", "gpt-4")
    async def stream() -> AsyncIterator[int]:
        for number in range(3):
            await asyncio.sleep(0)
            record_usage(total_tokens=2)
            yield number

    async def main() -> list[int]:
        return [number async for number in stream()]

    assert asyncio.run(main()) == [0, 1, 2]
    assert (len(sink.finished), sink.tokens) == (1, 6)


def test_what_a_consumer_does_between_two_items_is_not_the_streams(sink: RecordingSink) -> None:
    @monitor_task("job", "stream", "gpt-4")
    def stream() -> Iterator[int]:
        yield 1
        yield 2

    @monitor_task("job", "consumer", "gpt-4")
    def consumer() -> None:
        for _ in stream():
            record_usage(total_tokens=5)

    consumer()

    assert {event.task_name: sum(call.usage.token_count for call in event.calls) for event in sink.finished} == {
        "stream": 0,
        "consumer": 10,
    }


def test_nested_functions_count_once(sink: RecordingSink) -> None:
    @monitor_task("job", "inner", "gpt-4")
    def inner() -> dict[str, Any]:
        return {"model": "gpt-4", "usage": {"prompt_tokens": 7, "completion_tokens": 3}}

    @monitor_task("job", "outer", "gpt-4")
    def outer() -> dict[str, Any]:
        return inner()

    outer()

    assert sink.tokens == 10
    inner_event, outer_event = sink.finished
    assert inner_event.parent_event_id == outer_event.event_id


def test_of_several_results_each_counts_once(sink: RecordingSink) -> None:
    @monitor_task("job", "ask", "gpt-4")
    def ask(tokens: int) -> dict[str, Any]:
        return {"model": "gpt-4", "usage": {"total_tokens": tokens}}

    @monitor_task("job", "best", "gpt-4")
    def best() -> dict[str, Any]:
        first, _ = ask(10), ask(20)
        return first

    best()

    assert sink.tokens == 30


def test_wrong_arguments_leave_nothing_open(sink: RecordingSink) -> None:
    @monitor_task("job", "stream", "gpt-4")
    def stream(count: int) -> Iterator[int]:
        yield from range(count)

    generator: Any = stream
    with pytest.raises(TypeError):
        next(generator("a", "b"))
    assert len(sink.begun) == len(sink.finished)


def test_a_result_that_cannot_be_true_leaves_nothing_open(sink: RecordingSink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AUREA_RAISE_ERRORS")
    usage = {"completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 300}}

    assert monitor_task("job", "task", "gpt-4")(lambda: {"usage": usage})() == {"usage": usage}

    assert [event.status for event in sink.finished] == ["success"]


def test_the_placeholder_is_not_a_job_to_hand_on(sink: RecordingSink) -> None:
    seen: list[str | None] = []
    monitor_task(None, "task", "gpt-4")(lambda: seen.append(current_job()))()

    assert (sink.last.job_id, seen) == ("none", [None])


def test_above_a_shared_task_the_task_stays_a_task(caplog: pytest.LogCaptureFixture) -> None:
    @shared_task(name="shared.by.test")
    def work() -> None:
        """Nothing."""

    assert monitor_task("job", "task", "gpt-4")(work) is work
    assert "put it next to the function" in caplog.text


def test_the_cost_function_wins(sink: RecordingSink) -> None:
    asked: list[tuple[str, int]] = []

    def estimate(model_name: str, token_count: int) -> float:
        asked.append((model_name, token_count))
        return token_count * 0.00005

    monitor_task("job", "task", "custom-model", estimate)(lambda: ("x", 100))()

    assert asked == [("custom-model", 100)]
    assert sink.last.calls[0].cost_usd == Decimal("0.005")


@pytest.mark.parametrize(
    "answer", [float("nan"), float("inf"), -1, "cheap", None, True, Decimal("NaN"), ZeroDivisionError()]
)
def test_a_cost_function_that_fails_costs_neither_the_call_nor_the_row(sink: RecordingSink, answer: object) -> None:
    def estimate(_model: str, _tokens: int) -> object:
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert monitor_task("job", "task", "gpt-4", estimate)(lambda: ("x", 100))() == ("x", 100)

    (call,) = sink.last.calls
    assert call.cost_usd is None
    assert "cost function failed" in (call.cost_problem or "")
    assert call.usage.token_count == 100


def test_latency_is_of_the_call(sink: RecordingSink, monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter([1_000_000, 1_250_000])
    monkeypatch.setattr("aurea_celery.capture.context.monotonic_us", lambda: next(readings))

    monitor_task("job", "task", "gpt-4")(lambda: None)()

    assert sink.last.latency_us == 250_000


@pytest.mark.parametrize("job_id", ["", "a\0b", "x" * 1000, "ünï/cødé?", "\ud800"])
def test_names_of_any_shape_are_made_fit(sink: RecordingSink, job_id: str) -> None:
    assert monitor_task(job_id, "t" * 1000, "gpt-4")(lambda: 1)() == 1

    assert 1 <= len(sink.last.job_id) <= 255
    assert len(sink.last.task_name) == 255


def test_recursion_and_several_decorators(sink: RecordingSink) -> None:
    @monitor_task("job", "countdown", "gpt-4")
    def countdown(number: int) -> int:
        record_usage(total_tokens=1)
        return countdown(number - 1) if number else 0

    countdown(4)

    assert (len(sink.finished), sink.tokens) == (5, 5)


def test_without_a_plugin_nothing_is_recorded_and_nothing_fails(caplog: pytest.LogCaptureFixture) -> None:
    assert monitor_task("job", "task", "gpt-4")(lambda: ("x", 1))() == ("x", 1)
    assert "call Aurea(app) with your Celery app first" in caplog.text


def test_without_parentheses(sink: RecordingSink) -> None:
    @monitor_task
    def greet(name: str) -> str:
        """Greet."""
        return f"Hello {name}"

    @monitor_task
    async def wait(name: str) -> str:
        return name

    @monitor_task
    def count(number: int) -> Iterator[int]:
        yield from range(number)

    class Greeter:
        @monitor_task
        def greet(self) -> Greeter:
            return self

        @classmethod
        @monitor_task
        def make(cls) -> type[Greeter]:
            return cls

    with job("around"):
        assert (greet("Ada"), greet.__doc__) == ("Hello Ada", "Greet.")
        assert asyncio.run(wait("Ada")) == "Ada"
        assert list(count(2)) == [0, 1]
        assert isinstance(Greeter().greet(), Greeter)
        assert Greeter.make() is Greeter
        assert monitor_task(functools.partial(greet, "Bob"))() == "Hello Bob"

    assert {event.job_id for event in sink.finished} == {"around"}
    assert sink.finished[0].task_name.endswith("greet")


@pytest.mark.parametrize("is_above", [False, True])
@pytest.mark.parametrize("is_lazy", [False, True])
def test_without_parentheses_beside_a_task(is_above: bool, is_lazy: bool) -> None:
    app = Celery("unit", broker="memory://", set_as_current=False)

    def give() -> tuple[str, int]:
        return "text", 12

    make_task = app.task(name="unit.give", shared=False, lazy=is_lazy)
    task: Any = monitor_task(make_task(give)) if is_above else make_task(monitor_task(give))

    with recording(app) as recorder:
        assert task.apply().get() == ("text", 12)
    assert [(event.task_name, event.calls[0].usage.total_tokens) for event in recorder.finished] == [("unit.give", 12)]


def test_a_job_without_a_name_is_refused_where_it_stands() -> None:
    with pytest.raises(TypeError, match="job needs a name"):

        @job  # type: ignore[arg-type]  # as somebody may write
        def work() -> None:
            """Do nothing."""
