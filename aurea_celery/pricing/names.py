"""Names of models and providers as they come, and as a price book has them."""

from __future__ import annotations

import re
from typing import NamedTuple

BOOK_PROVIDERS = {
    "aws.bedrock": "aws",
    "azure.ai.inference": "azure",
    "azure.ai.openai": "azure",
    "gcp.gemini": "google",
    "gcp.gen_ai": "google",
    "gcp.vertex_ai": "google",
    "mistral_ai": "mistral",
    "x_ai": "x-ai",
}
"""OpenTelemetry's names of providers, where genai-prices has others."""

PREFIX_PROVIDERS = {
    "anthropic": "anthropic",
    "azure": "azure",
    "azure_ai": "azure",
    "bedrock": "aws",
    "cerebras": "cerebras",
    "cohere": "cohere",
    "deepseek": "deepseek",
    "fireworks_ai": "fireworks",
    "gemini": "google",
    "groq": "groq",
    "mistral": "mistral",
    "openai": "openai",
    "openrouter": "openrouter",
    "perplexity": "perplexity",
    "together_ai": "together",
    "vertex_ai": "google",
    "xai": "x-ai",
}
"""Who is meant by what stands before the first slash, as LiteLLM writes models: ``azure/gpt-4o``."""

RELEASE = re.compile(
    r"(?:[-@:](?:latest|preview|\d{3,4}|\d{8}|\d{4}-\d{2}-\d{2}|\d{2}-\d{4}|preview-\d{2}-\d{2,4}|v\d+)|:\d+)*"
)
"""What may follow a model's name without making another model of it: ``gpt-4-0613``, ``claude-3-opus-20240229``."""

UNFINISHED = re.compile(r"[-@:](?:20[\d-]*|0|preview)?$")
"""The beginning of a release, with which a rule of the price book may end: ``claude-sonnet-4-2025``, ``gpt-5-``."""

PLACE = re.compile(r"(?:.*/)?(?:[a-z0-9-]+\.)*")
"""What may stand before one: ``models/``, ``us.anthropic.``."""


class ModelName(NamedTuple):
    """A model and who sells it, as a price book has them; ``provider`` is None if nobody says."""

    model: str
    provider: str | None


def book_name(model: str, provider: str | None) -> ModelName:
    """The name under which a price book has a model.

    >>> book_name("azure/gpt-4o", None)
    ModelName(model='gpt-4o', provider='azure')
    >>> book_name("gemini-2.5-pro", "gcp.vertex_ai")
    ModelName(model='gemini-2.5-pro', provider='google')
    """
    if model.startswith("ft:"):  # OpenAI's fine-tuned ones: ft:MODEL:ORGANISATION:NAME:ID
        model = ":".join(model.split(":")[:2])
    prefix, slash, rest = model.partition("/")
    if slash and prefix in PREFIX_PROVIDERS:
        return ModelName(rest.lower(), PREFIX_PROVIDERS[prefix])
    return ModelName(model.lower(), BOOK_PROVIDERS.get(provider, provider) if provider else None)


def is_release_of(name: str, rest: str) -> bool:
    """Whether ``name`` with ``rest`` behind it is a release of the model called ``name``, not a model of its own."""
    begun = UNFINISHED.search(name)
    return any(RELEASE.fullmatch(release) for release in (rest, (begun[0] if begun else "") + rest))
