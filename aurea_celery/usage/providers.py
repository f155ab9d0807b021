"""Who the provider is, where a response itself says so; in the names of OpenTelemetry.

The shape of a response does not say it: OpenAI's and Anthropic's are spoken by many.
"""

from __future__ import annotations

from typing import Any

from aurea_celery.usage.fields import count, get, text

BEDROCK = "aws.bedrock"

# The names of LangChain (response_metadata.model_provider) and Pydantic AI (provider_name).
NAMES = {
    "anthropic": "anthropic",
    "azure": "azure.ai.openai",
    "bedrock": BEDROCK,
    "bedrock_converse": BEDROCK,
    "cohere": "cohere",
    "deepseek": "deepseek",
    "google-gla": "gcp.gemini",
    "google-vertex": "gcp.vertex_ai",
    "google_vertexai": "gcp.vertex_ai",
    "grok": "x_ai",
    "groq": "groq",
    "mistral": "mistral_ai",
    "mistralai": "mistral_ai",
    "openai": "openai",
    "xai": "x_ai",
}


def provider_of(carriers: tuple[Any, ...]) -> str | None:
    """The provider, from what a response and its metadata say; None if they do not.

    >>> provider_of(({"provider_name": "google-gla"},))
    'gcp.gemini'
    """
    for carrier in carriers:
        said = text(carrier, "model_provider", "provider_name")
        if said is not None:
            return NAMES.get(said)
        if count(get(carrier, "metrics"), "latencyMs") is not None:  # Converse's alone
            return BEDROCK
    return None
