"""The simulated model does what it is told, and says that it is simulated."""

from __future__ import annotations

import time
from decimal import Decimal

import pytest

from aurea_celery.usage import read_response
from worker_example.model import MODEL_OF_TASK, SimulatedModel
from worker_example.shape import latency_ms


@pytest.mark.parametrize("task", MODEL_OF_TASK)
def test_an_answer_has_the_tokens_that_were_ordered(task: str) -> None:
    answer = SimulatedModel(1e9).answer(task, "", "", input_tokens=374, output_tokens=44)
    reading = read_response(answer.response)
    assert reading is not None
    assert (reading.usage.input_tokens, reading.usage.output_tokens) == (374, 44)
    assert (answer.input_tokens, answer.output_tokens) == (374, 44)
    assert reading.model is not None
    assert reading.model.startswith("simulated-")
    assert "simulated" in answer.text


def test_costs_are_those_of_the_model_it_stands_for() -> None:
    model = SimulatedModel(1e9)
    assert model.answer("replay", "", "", input_tokens=900, output_tokens=100).cost_usd == Decimal("0.01")
    assert model.answer("embed", "", "", input_tokens=900, output_tokens=0).cost_usd is None


def test_it_takes_its_time() -> None:
    begun = time.monotonic()
    SimulatedModel(100).answer("replay", "", "", input_tokens=1020, output_tokens=129)
    assert time.monotonic() - begun >= latency_ms(1020, 129) / 1000 / 100
