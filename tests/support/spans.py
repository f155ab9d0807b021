"""Spans as instrumentations make them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from opentelemetry import trace

from aurea_celery.events import ModelCall


def usage(input_tokens: int, output_tokens: int = 1) -> dict[str, Any]:
    """A span's attributes."""
    return {"gen_ai.usage.input_tokens": input_tokens, "gen_ai.usage.output_tokens": output_tokens}


@contextlib.contextmanager
def spanning(tracer: trace.Tracer, operation: str, attributes: dict[str, Any] | None = None) -> Iterator[None]:
    """A span that says what it used when it ends."""
    with tracer.start_as_current_span(operation, attributes={"gen_ai.operation.name": operation}) as span:
        yield
        span.set_attributes(attributes or {})


def inputs(calls: tuple[ModelCall, ...]) -> list[int | None]:
    """What each call read."""
    return [call.usage.input_tokens for call in calls]
