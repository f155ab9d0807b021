"""``record_usage``: what the host says of a call, and what becomes of what cannot be true."""

from __future__ import annotations

import inspect
from decimal import Decimal
from typing import Any

import pytest

from aurea_celery import monitor_task, record_stream, record_usage
from aurea_celery._guard import fault_counts
from aurea_celery.events import Usage, decode_event, encode
from tests.support.events import make_event
from tests.support.model_calls import recorded
from tests.support.sinks import RecordingSink

RESPONSE = {"model": "gpt-5", "service_tier": "default", "usage": {"prompt_tokens": 9, "completion_tokens": 1}}
COUNTS = {
    "input_tokens": 100,
    "output_tokens": 50,
    "total_tokens": 150,
    "cache_read_input_tokens": 10,
    "cache_write_input_tokens": 40,
    "cache_write_1h_input_tokens": 30,
    "reasoning_output_tokens": 20,
    "input_audio_tokens": 5,
    "output_audio_tokens": 6,
}


def test_every_count_of_a_usage_can_be_given(sink: RecordingSink) -> None:
    assert COUNTS.keys() == set(Usage.__struct_fields__) <= inspect.signature(record_usage).parameters.keys()
    given: dict[str, Any] = COUNTS

    assert recorded(sink, lambda: record_usage(model="m", **given)).usage == Usage(**COUNTS)


def test_the_service_tier_of_the_host_wins(sink: RecordingSink) -> None:
    assert recorded(sink, lambda: record_usage(RESPONSE)).service_tier == "default"
    assert recorded(sink, lambda: record_usage(RESPONSE, service_tier="batch")).service_tier == "batch"
    assert recorded(sink, lambda: record_usage(input_tokens=1, service_tier="flex")).service_tier == "flex"


@pytest.mark.parametrize("cost", [-1, float("nan"), "Infinity", "free", True, [], Decimal("1e16")])
def test_a_cost_that_is_none_does_not_take_the_tokens_with_it(sink: RecordingSink, cost: Any) -> None:
    call = recorded(sink, lambda: record_usage(RESPONSE, cost_usd=cost))

    assert (call.usage.token_count, call.cost_usd) == (10, None)
    assert (call.cost_problem or "").startswith("cost_usd is no finite number >= 0 (")


@pytest.mark.parametrize(
    ("latency", "expected"), [(1.5, 1_500), (0, 0), (-0.1, None), (float("nan"), None), (1e300, None)]
)
def test_a_time_that_is_none_is_not_known_and_the_event_can_be_written(
    sink: RecordingSink, latency: float, expected: int | None
) -> None:
    call = recorded(sink, lambda: record_usage(RESPONSE, latency_ms=latency, time_to_first_token_ms=latency))

    assert (call.latency_us, call.time_to_first_token_us) == (expected, expected)
    event = make_event(calls=(call,))
    assert decode_event(encode(event)) == event


@pytest.mark.parametrize("is_returned", [False, True])
def test_a_response_that_contradicts_itself_is_a_call_all_the_same(
    sink: RecordingSink, monkeypatch: pytest.MonkeyPatch, is_returned: bool
) -> None:
    """It was paid for: without the call nothing would say that its usage is not known."""
    monkeypatch.delenv("AUREA_RAISE_ERRORS")
    usage = {"prompt_tokens": 10, "completion_tokens": 50, "prompt_tokens_details": {"cached_tokens": 20}}
    response = {"model": "gpt-5", "usage": usage}

    call = recorded(sink, (lambda: response) if is_returned else lambda: record_usage(response))

    assert (call.usage, call.model) == (Usage(), "gpt-5")


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"prompt_tokens": 5}, "does not take 'prompt_tokens' (did you mean 'input_tokens'?)"),
        ({"input_tokens": 5, "completion_tokens": 5}, "'completion_tokens' (did you mean 'output_tokens'?)"),
        ({"input_token": 5}, "'input_token' (did you mean 'input_tokens'?)"),
        ({"surprise": 5}, "does not take 'surprise';"),
    ],
)
def test_a_wrong_keyword_is_said_and_the_call_is_there(
    sink: RecordingSink, caplog: pytest.LogCaptureFixture, keywords: dict[str, Any], said: str
) -> None:
    fault_counts.clear()

    def call() -> None:
        for _ in range(2):
            record_usage(model="gpt-4", cost_usd="0.5", **keywords)

    monitor_task("job", "task")(call)()

    assert sink.last.status == "success"
    assert [(one.model, one.cost_usd, one.usage) for one in sink.last.calls] == [("gpt-4", Decimal("0.5"), Usage())] * 2
    assert len(caplog.messages) == 1
    assert said in caplog.messages[0]
    assert "internal fault" not in caplog.messages[0]
    assert not fault_counts


def test_beside_a_response_its_counts_are_taken(sink: RecordingSink) -> None:
    response: dict[str, Any] = {"model": "gpt-4", "usage": {"prompt_tokens": 9, "completion_tokens": 1}}
    keywords: dict[str, Any] = {"prompt": "secret"}

    monitor_task("job", "task")(lambda: record_usage(response, **keywords))()

    assert [one.usage.token_count for one in sink.last.calls] == [10]


def test_too_many_arguments_without_a_name(sink: RecordingSink, caplog: pytest.LogCaptureFixture) -> None:
    arguments: Any = ({"model": "gpt-4", "usage": {"total_tokens": 9}}, 90, 12)

    monitor_task("job", "task")(lambda: record_usage(*arguments))()

    assert [one.usage.token_count for one in sink.last.calls] == [9]
    assert "takes no more than 1 argument without a name" in caplog.text


def test_a_wrong_keyword_of_a_stream(sink: RecordingSink, caplog: pytest.LogCaptureFixture) -> None:
    keywords: dict[str, Any] = {"modle": "gpt-4"}

    monitor_task("job", "task")(lambda: list(record_stream(iter([{"usage": {"total_tokens": 9}}]), **keywords)))()

    assert sink.tokens == 9
    assert "record_stream does not take 'modle' (did you mean 'model'?)" in caplog.text
