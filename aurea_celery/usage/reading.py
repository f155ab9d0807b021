"""From a response to its usage, by its shape: attributes or mapping keys, no SDK needed.

====================  =============================================================  =======================
shape                 counts                                                         input includes the cache
====================  =============================================================  =======================
``openai`` chat       ``prompt_tokens, completion_tokens`` and their ``_details``    yes
``openai`` responses  ``input_tokens, output_tokens`` and their ``_details``         yes
``anthropic``         ``input_tokens, cache_*_input_tokens, output_tokens``          no: it is added
``google``            ``prompt_token_count, candidates_..., thoughts_..., tool_...`` yes
``bedrock``           ``inputTokens, cacheReadInputTokens, ..., outputTokens``       no: it is added
``cohere``            ``billed_units``, else ``tokens``                              yes
``langchain``         ``input_tokens, output_tokens`` and ``input_token_details``    yes
``pydantic_ai``       ``input_tokens, cache_read_tokens, ..., output_tokens``        yes
only a total          ``total_tokens`` (any spelling)                                -
====================  =============================================================  =======================
"""

from __future__ import annotations

from typing import Any, NamedTuple

from aurea_celery.events import Usage
from aurea_celery.usage import anthropic, bedrock, cohere, google, langchain, openai, pydantic_ai
from aurea_celery.usage.fields import count, get, text
from aurea_celery.usage.providers import provider_of

# What a task returns is looked at as well: most of it is none of a provider's.
PLAIN = frozenset({str, bytes, int, float, bool, list, tuple, type(None)})
ENVELOPES = ("usage", "usage_metadata", "usageMetadata")
MODELS = ("model", "model_version", "modelVersion", "model_name", "model_id")
RESPONSE_IDS = ("id", "response_id", "responseId")

# The parts of an event of a stream that carry what the response itself would carry: OpenAI's and Anthropic's events,
# Cohere's, Mistral's, Bedrock's, and the events of OpenAI's helper for streams.
PARTS = ("response", "message", "delta", "data", "metadata", "chunk")


class Reading(NamedTuple):
    """What a response says of itself; ``response_id`` is the id its provider gave it."""

    usage: Usage
    model: str | None = None
    service_tier: str | None = None
    provider: str | None = None
    response_id: str | None = None


def read_usage(raw: Any) -> Usage | None:
    """The counts of a usage object in any known shape; None if it is not one.

    Raises:
        UsageError: If the counts contradict each other.
    """
    if raw is None or isinstance(raw, Usage):
        return raw
    return next((usage for read in SHAPES if (usage := read(raw)) is not None), None)


def read_response(response: Any) -> Reading | None:
    """The usage of a provider's response, or of a mapping shaped like one; None if it carries none.

    Raises:
        UsageError: If the counts contradict each other.

    >>> read_response({"model": "gpt-4", "usage": {"prompt_tokens": 9, "completion_tokens": 1}}).usage.token_count
    10
    """
    if type(response) in PLAIN:
        return None
    for envelope in ENVELOPES:
        raw = get(response, envelope)
        usage = None if raw is None else _read_envelope(response, raw)
        if usage is not None:
            return _reading(response, raw, usage)
    meta = get(response, "meta")
    usage = None if meta is None else cohere.read_usage_or_meta(meta)
    return None if usage is None else _reading(response, meta, usage)


def read_part(chunk: Any) -> Reading | None:
    """The usage of a response, or of one event or chunk of a stream, whichever part of it carries that.

    Raises:
        UsageError: If the counts contradict each other.

    >>> read_part({"type": "response.completed", "response": {"model": "gpt-4", "usage": {"total_tokens": 3}}}).model
    'gpt-4'
    """
    reading = read_response(chunk)
    if reading is not None:
        return reading
    parts = (part for name in PARTS if (part := get(chunk, name)) is not None)
    reading = next((found for part in parts if (found := read_response(part)) is not None), None)
    if reading is None or reading.response_id is not None:
        return reading
    return reading._replace(response_id=text(chunk, "id"))


def _read_envelope(response: Any, raw: Any) -> Usage | None:
    usage = read_usage(raw)
    if usage is None and callable(raw):
        return read_usage(pydantic_ai.usage_of_run(response, raw))
    return usage


def _reading(response: Any, raw: Any, usage: Usage) -> Reading:
    metadata = get(response, "response_metadata")  # LangChain's messages: their own id is not the provider's
    last = get(response, "response")  # the last response of a run of Pydantic AI
    carriers = tuple(one for one in (response, metadata, last) if one is not None)
    return Reading(
        usage=usage,
        model=_first_text(carriers, *MODELS),
        service_tier=_first_text((*carriers, raw), "service_tier") or bedrock.service_tier_of(response),
        provider=provider_of(carriers),
        response_id=text(response, "provider_response_id")
        or (text(response, *RESPONSE_IDS) if metadata is None else text(metadata, "id")),
    )


def _first_text(carriers: tuple[Any, ...], *names: str) -> str | None:
    return next((said for one in carriers if (said := text(one, *names))), None)


def _read_total(raw: Any) -> Usage | None:
    total = count(raw, "total_tokens", "totalTokens", "total_token_count", "totalTokenCount")
    return None if total is None else Usage(total_tokens=total)


# The first that recognises a usage reads it: those that could be taken for another come before it.
SHAPES = (
    openai.read_chat,
    anthropic.read_message,
    langchain.read_usage_metadata,
    pydantic_ai.read_run_usage,
    openai.read_responses,
    google.read_usage_metadata,
    bedrock.read_converse,
    cohere.read_usage_or_meta,
    _read_total,
)
