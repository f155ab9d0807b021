"""A real model through its official SDK, against a local server that speaks the provider's API."""

from __future__ import annotations

import importlib.util
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from aurea_celery.usage import read_response
from worker_example import provider
from worker_example.errors import ExampleError
from worker_example.model import SimulatedModel
from worker_example.provider import AnthropicModel, OpenAIModel, choose_model, find_provider

ANSWERS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "order"}}],
        "usage": {"prompt_tokens": 31, "completion_tokens": 1, "total_tokens": 32},
    },
    "/v1/embeddings": {
        "object": "list",
        "model": "text-embedding-3-small",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
        "usage": {"prompt_tokens": 9, "total_tokens": 9},
    },
    "/v1/messages": {
        "id": "1",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-4-5",
        "content": [{"type": "text", "text": "order"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 20,
            "output_tokens": 1,
            "cache_read_input_tokens": 10,
            "cache_creation_input_tokens": 1,
        },
    },
}


class Handler(BaseHTTPRequestHandler):
    asked: list[tuple[str, dict[str, Any]]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.path, body))
        answer = json.dumps(ANSWERS[self.path]).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", f"{len(answer)}")
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """What a local server was asked, which both SDKs are pointed to."""
    handler = type("Asked", (Handler,), {"asked": []})
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.server_port}/v1")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "key")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", f"http://127.0.0.1:{server.server_port}")
    yield handler.asked  # type: ignore[attr-defined]  # made above
    server.shutdown()
    thread.join()
    server.server_close()


def test_openai_answers_and_its_usage_is_read(asked: list[tuple[str, dict[str, Any]]]) -> None:
    pytest.importorskip("openai", reason="the official SDK is not installed")
    answer = OpenAIModel("gpt-4o-mini").answer("classify", "One word.", "text", input_tokens=5, output_tokens=900)
    reading = read_response(answer.response)
    assert reading is not None
    assert (reading.usage.input_tokens, reading.usage.output_tokens) == (31, 1)
    assert (answer.text, answer.input_tokens, answer.output_tokens, answer.cost_usd) == ("order", 31, 1, None)
    ((path, body),) = asked
    assert path == "/v1/chat/completions"
    assert body["max_completion_tokens"] == provider.MAX_OUTPUT_TOKENS


def test_openai_embeds(asked: list[tuple[str, dict[str, Any]]]) -> None:
    pytest.importorskip("openai", reason="the official SDK is not installed")
    answer = OpenAIModel("gpt-4o-mini").answer("embed", "", "text", input_tokens=5, output_tokens=0)
    reading = read_response(answer.response)
    assert reading is not None
    assert (reading.usage.token_count, answer.input_tokens, answer.output_tokens) == (9, 9, 0)
    assert [path for path, _ in asked] == ["/v1/embeddings"]


def test_anthropic_answers_and_its_cached_input_is_input(asked: list[tuple[str, dict[str, Any]]]) -> None:
    pytest.importorskip("anthropic", reason="the official SDK is not installed")
    model = AnthropicModel("claude-haiku-4-5")
    answer = model.answer("classify", "One word.", "text", input_tokens=5, output_tokens=9)
    reading = read_response(answer.response)
    assert reading is not None
    assert (reading.usage.input_tokens, reading.usage.output_tokens) == (31, 1)
    assert (answer.text, answer.input_tokens, answer.output_tokens) == ("order", 31, 1)
    assert model.answer("embed", "", "", input_tokens=5, output_tokens=0).response["model"] == "simulated-embedder"
    assert [path for path, _ in asked] == ["/v1/messages"]


def test_without_a_key_the_model_is_simulated(monkeypatch: pytest.MonkeyPatch) -> None:
    for one in provider.PROVIDERS:
        monkeypatch.delenv(one.key_variable, raising=False)
    choose_model.cache_clear()
    assert isinstance(choose_model(), SimulatedModel)
    choose_model.cache_clear()


@pytest.mark.parametrize("one", provider.PROVIDERS, ids=lambda one: one.name)
def test_a_key_without_its_sdk(one: provider.Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(ExampleError, match=f"{one.key_variable} is set but the package {one.name} is not installed"):
        find_provider({one.key_variable: "secret"})


def test_openai_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: object())
    found = find_provider({"OPENAI_API_KEY": "a", "ANTHROPIC_API_KEY": "b"})
    assert found is not None
    assert found.name == "openai"
    assert find_provider({}) is None
