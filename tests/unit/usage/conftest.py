"""A recording sink, and a server that answers as providers do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import golden
from tests.support.model_server import ModelServer, model_server
from tests.unit.capture.conftest import sink

__all__ = ["sink"]

ANSWERS = {
    "/v1/chat/completions": "openai/chat/cached",
    "/v1/chat/completions#stream": "openai/chat/stream",
    "/v1/responses": "openai/responses/cached",
    "/v1/responses#stream": "openai/responses/stream",
    "/v1/embeddings": "openai/embeddings/plain",
    "/v1/audio/transcriptions": "openai/transcription/tokens",
    "/v1/messages": "anthropic/messages/cached",
    "/v1/messages#stream": "anthropic/messages/stream",
    ":generateContent": "google/generate_content/thoughts",
    ":streamGenerateContent": "google/generate_content/stream",
    "/converse": "bedrock/converse/cached_by_age",
    "/converse-stream": "bedrock/converse/stream",
    "/mistral/v1/chat/completions": "mistral/chat/plain",
    "/mistral/v1/chat/completions#stream": "mistral/chat/stream",
    "/v2/chat": "cohere/chat/billed",
    "/v2/chat#stream": "cohere/chat/stream",
    "/v2/embed": "cohere/embed/plain",
}


@pytest.fixture
def models() -> Iterator[ModelServer]:
    """A server that answers as providers do."""
    longest_first = sorted(ANSWERS, key=len, reverse=True)
    with model_server({path: golden.answer(ANSWERS[path]) for path in longest_first}) as server:
        yield server
