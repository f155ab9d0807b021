"""A real language model, through its provider's official SDK, if the environment holds a key.

``OPENAI_API_KEY`` wins over ``ANTHROPIC_API_KEY``. The SDKs are not part of the demo's installation and are
imported only when they are used. Anthropic has no embeddings: there the ``embed`` task stays simulated.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from worker_example.errors import ExampleError
from worker_example.model import Answer, Model, SimulatedModel

MODEL_VARIABLE = "WORKER_EXAMPLE_MODEL"
MAX_OUTPUT_TOKENS = 200
"""The example asks a real model for short answers: it is your money."""


class Provider(NamedTuple):
    """A provider whose key is in the environment."""

    name: str
    key_variable: str
    default_model: str


PROVIDERS = (
    Provider("openai", "OPENAI_API_KEY", "gpt-4o-mini"),
    Provider("anthropic", "ANTHROPIC_API_KEY", "claude-haiku-4-5"),
)


def find_provider(environ: Mapping[str, str]) -> Provider | None:
    """The provider to talk to; None means the simulated model.

    Raises:
        ExampleError: If there is a key but not the SDK.
    """
    found = next((one for one in PROVIDERS if environ.get(one.key_variable)), None)
    if found and importlib.util.find_spec(found.name) is None:
        raise ExampleError(
            f"{found.key_variable} is set but the package {found.name} is not installed; run pip install {found.name} "
            f"in this environment, or unset {found.key_variable} to use the simulated model"
        )
    return found


@functools.cache
def choose_model() -> Model:
    """The model of this process: the provider's whose key is in the environment, else the simulated one."""
    provider = find_provider(os.environ)
    if provider is None:
        return SimulatedModel.from_environment()
    name = os.environ.get(MODEL_VARIABLE) or provider.default_model
    return OpenAIModel(name) if provider.name == "openai" else AnthropicModel(name)


class OpenAIModel:
    """A model of OpenAI, or of a server with its API at ``OPENAI_BASE_URL``."""

    EMBEDDER = "text-embedding-3-small"

    def __init__(self, name: str) -> None:
        self._client: Any = importlib.import_module("openai").OpenAI()
        self._name = name

    def answer(self, task: str, instruction: str, text: str, *, input_tokens: int, output_tokens: int) -> Answer:
        """Ask the provider; its own count of the tokens is what counts."""
        if task == "embed":
            response = self._client.embeddings.create(model=self.EMBEDDER, input=text)
            return Answer("(a vector)", response, response.usage.prompt_tokens, 0)
        response = self._client.chat.completions.create(
            model=self._name,
            messages=[{"role": "system", "content": instruction}, {"role": "user", "content": text}],
            max_completion_tokens=min(output_tokens, MAX_OUTPUT_TOKENS),
        )
        usage, said = response.usage, response.choices[0].message.content
        return Answer(said or "", response, usage.prompt_tokens, usage.completion_tokens)


class AnthropicModel:
    """A model of Anthropic, or of a server with its API at ``ANTHROPIC_BASE_URL``."""

    def __init__(self, name: str) -> None:
        self._client: Any = importlib.import_module("anthropic").Anthropic()
        self._name = name
        self._embedder = SimulatedModel.from_environment()

    def answer(self, task: str, instruction: str, text: str, *, input_tokens: int, output_tokens: int) -> Answer:
        """Ask the provider; its own count of the tokens is what counts."""
        if task == "embed":
            return self._embedder.answer(task, instruction, text, input_tokens=input_tokens, output_tokens=0)
        response = self._client.messages.create(
            model=self._name,
            system=instruction,
            messages=[{"role": "user", "content": text}],
            max_tokens=min(output_tokens, MAX_OUTPUT_TOKENS),
        )
        usage = response.usage
        cached = (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
        said = "".join(block.text for block in response.content if block.type == "text")
        return Answer(said, response, usage.input_tokens + cached, usage.output_tokens)
