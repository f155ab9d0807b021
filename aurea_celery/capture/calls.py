"""The model calls of an execution: each counts once, whoever tells of it.

A model call can be told of twice: by the host (``record_usage``, ``record_stream``) and by its span
(:mod:`aurea_celery.otel`). Both mean the same response if its id is the same, or, where one of them has no id, if the
counts are the same. It is one call then, with what the host says of it in the first place.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from aurea_celery.capture.context import Execution
from aurea_celery.events import ModelCall, Usage, clean_text
from aurea_celery.usage import Reading

MOST_HANDED_ON = 64

_spans_are_told = False


def expect_spans() -> None:
    """From here on spans tell of calls too."""
    global _spans_are_told  # noqa: PLW0603 - a process has span processors or not
    _spans_are_told = True


@dataclass(slots=True, eq=False)
class Told:
    """A model call that one side told of; ``place`` is where the execution keeps it, None if another one does."""

    place: int | None
    call: ModelCall
    response_id: str | None

    def is_same(self, call: ModelCall, response_id: str | None) -> bool:
        """Whether another call is the same response's."""
        if self.response_id is not None and response_id is not None:
            return self.response_id == response_id
        mine, other = self.call.usage, call.usage
        if mine.split_is_known and other.split_is_known:
            return (mine.input_tokens, mine.output_tokens) == (other.input_tokens, other.output_tokens)
        return mine.token_count == other.token_count > 0


def count_call(execution: Execution, call: ModelCall, *, response_id: str | None = None, by_span: bool = False) -> None:
    """Add a model call to an execution, unless the other side told of the same response before.

    A call that comes after the end is an execution of its own.
    """
    if not _spans_are_told:
        execution.add_call(call)
        return
    ours, theirs = _sides(execution, by_span=by_span)
    twin = next((one for one in tuple(theirs) if one.is_same(call, response_id)), None)
    if twin is None:
        ours.append(Told(execution.add_call(call), call, response_id))
        return
    theirs.remove(twin)
    if twin.place is not None:
        by_host, by_its_span = (twin.call, call) if by_span else (call, twin.call)
        execution.correct_call(twin.place, _merged(by_host, by_its_span))


def pass_on(inner: Execution, around: Execution) -> None:
    """Let the execution around one that has ended know what its spans told: it may record what comes out of it."""
    if inner.told is not None:
        told, _ = _sides(inner, by_span=True)
        known, _ = _sides(around, by_span=True)
        known.extend(Told(None, one.call, one.response_id) for one in told[-MOST_HANDED_ON:])


def _sides(execution: Execution, *, by_span: bool) -> tuple[list[Told], list[Told]]:
    """What the side that tells now has told alone, and what the other has."""
    if execution.told is None:
        execution.told = ([], [])
    by_host, by_spans = execution.told
    return (by_spans, by_host) if by_span else (by_host, by_spans)


def _merged(host: ModelCall, span: ModelCall) -> ModelCall:
    """One call of both: what the host says, and what only the span knows."""
    names = (name for name in ModelCall.__struct_fields__ if name != "usage" and getattr(host, name) is None)
    usage = _merged_usage(host.usage, span.usage)
    return msgspec.structs.replace(host, usage=usage, **{name: getattr(span, name) for name in names})


def _merged_usage(host: Usage, span: Usage) -> Usage:
    if not host.split_is_known and host.token_count == span.token_count:
        return span
    if (host.input_tokens, host.output_tokens) != (span.input_tokens, span.output_tokens):
        return host
    details = {name: getattr(span, name) for name in Usage.__struct_fields__ if getattr(host, name) is None}
    return msgspec.structs.replace(host, **details)


def call_of(
    reading: Reading | None,
    usage: Usage,
    *,
    model: str | None,
    provider: str | None,
    service_tier: str | None = None,
    latency_us: int | None = None,
    time_to_first_token_us: int | None = None,
) -> ModelCall:
    """A model call from what a response says of itself and what the host says of it, which wins."""
    said, tier, from_ = (reading.model, reading.service_tier, reading.provider) if reading else (None, None, None)
    return ModelCall(
        usage=usage,
        provider=clean_text(provider) if provider else from_,
        model=clean_text(model) if model else said,
        response_model=said,
        service_tier=clean_text(service_tier) if service_tier else tier,
        latency_us=latency_us,
        time_to_first_token_us=time_to_first_token_us,
    )
