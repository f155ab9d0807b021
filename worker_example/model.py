"""A simulated language model. It reads nothing and writes nothing of sense.

It takes the tokens it is told to, waits as long as a real model would (:mod:`worker_example.shape`) divided by a speed,
and answers in the shape of a provider's response. Its models are called ``simulated-...`` so that no row of it can be
taken for real spend; their cost is the published price of the model they stand for. The one that has no such price,
``simulated-embedder``, shows how unpriced tokens are reported.
"""

from __future__ import annotations

import os
import time
from decimal import Decimal
from typing import Any, NamedTuple, Protocol

from worker_example.shape import latency_ms

SPEED_VARIABLE = "WORKER_EXAMPLE_SPEED"

USD_PER_1000_TOKENS = {
    "simulated-gpt-4-turbo": Decimal("0.01"),
    "simulated-claude-3-sonnet": Decimal("0.003"),
    "simulated-gpt-3.5-turbo": Decimal("0.002"),
}
MODEL_OF_TASK = {
    "extract": "simulated-gpt-4-turbo",
    "summarise": "simulated-claude-3-sonnet",
    "classify": "simulated-gpt-3.5-turbo",
    "embed": "simulated-embedder",
    "replay": "simulated-gpt-4-turbo",
}


class Answer(NamedTuple):
    """What a model answered: the text, the provider's response, its tokens, and its cost if the provider says so."""

    text: str
    response: Any
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal | None = None


class Model(Protocol):
    """A language model: the simulated one, or a provider's."""

    def answer(self, task: str, instruction: str, text: str, *, input_tokens: int, output_tokens: int) -> Answer:
        """Do what the instruction says with the text; the token counts are an order to a simulated model only."""


class SimulatedModel:
    """The simulated language model.

    Args:
        speed: How many times faster than the published latency it is.
    """

    def __init__(self, speed: float) -> None:
        self._speed = speed

    @classmethod
    def from_environment(cls) -> SimulatedModel:
        """As fast as the environment says; 100 times by default."""
        return cls(float(os.environ.get(SPEED_VARIABLE, "100")))

    def answer(self, task: str, _instruction: str, _text: str, *, input_tokens: int, output_tokens: int) -> Answer:
        """Wait, and answer with exactly these tokens."""
        time.sleep(latency_ms(input_tokens, output_tokens) / 1000 / self._speed)
        model = MODEL_OF_TASK[task]
        usage = {"prompt_tokens": input_tokens, "completion_tokens": output_tokens}
        price_usd = USD_PER_1000_TOKENS.get(model)
        return Answer(
            text=f"(a simulated answer of {output_tokens} tokens)",
            response={"id": "simulated", "model": model, "usage": usage},
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            cost_usd=None if price_usd is None else price_usd * (input_tokens + output_tokens) / 1000,
        )
