"""What happened, as frozen values, and its wire form.

A :class:`TaskEvent` is one execution of a task (one attempt) or one monitored call. It carries numbers and
names only: no argument, prompt, result or exception message.

Wire form, version 1: the queue's message has one argument, a JSON text of a :class:`Batch`. A batch holds, for
each :class:`Source` (one process of the host), its counters and its events. Unknown keys are ignored, so that an older
writer reads a newer sender; what is known is decoded strictly, each event on its own, so that one bad event
does not spoil its neighbours.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, cast, get_args

import msgspec
from msgspec import Meta, Struct

from aurea_celery.errors import UsageError

WIRE_VERSION = 1
TEXT_MAX_CHARACTERS = 255
BATCH_MAX_BYTES = 32 * 1024 * 1024
BATCH_MAX_EVENTS = 10_000
"""The largest batch a writer reads. Senders stay far below: a batch is as much as a few outbox segments."""

Status = Literal["success", "failure", "retry", "rejected", "ignored", "revoked", "timeout", "lost"]
STATUSES: tuple[str, ...] = get_args(Status)

CostStatus = Literal["priced", "free", "unpriced", "no_usage", "invalid"]
COST_STATUSES: tuple[str, ...] = get_args(CostStatus)

Omission = Literal["excluded", "sampled_out"]
"""Why an execution is left out on purpose."""

# Far beyond every price, and few enough digits that sums stay exact and PostgreSQL's NUMERIC takes them.
_COST_LIMIT_USD = Decimal(10) ** 15
_COST_MOST_PLACES = 800

# 2**53 - 1 is the largest integer every JSON reader keeps exact.
MAX_COUNT = 2**53 - 1
Count = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
Microseconds = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
Text = Annotated[str, Meta(max_length=TEXT_MAX_CHARACTERS)]
Name = Annotated[str, Meta(min_length=1, max_length=TEXT_MAX_CHARACTERS)]
Identifier = Annotated[str, Meta(pattern="^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")]


# None of these can be part of a circle: the garbage collector need not look at them (gc=False).
class Usage(Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """The tokens of one model call; names follow the OpenTelemetry GenAI conventions.

    ``input_tokens`` counts all input, cached included; ``output_tokens`` all output, reasoning included. The other
    counts are subsets of these two; ``cache_write_1h_input_tokens``, which stay for an hour, are a subset of all cache
    writes. ``total_tokens`` is for when input and output are not known apart; beside them it is their sum, or more if
    some tokens are of neither. ``None`` means not known, which is not zero.

    Raises:
        UsageError: If a subset is larger than its whole, or a total contradicts its parts.

    >>> Usage(input_tokens=100, output_tokens=20).token_count
    120
    >>> Usage(total_tokens=7).token_count
    7
    """

    input_tokens: Count | None = None
    output_tokens: Count | None = None
    total_tokens: Count | None = None
    cache_read_input_tokens: Count | None = None
    cache_write_input_tokens: Count | None = None
    reasoning_output_tokens: Count | None = None
    input_audio_tokens: Count | None = None
    output_audio_tokens: Count | None = None
    cache_write_1h_input_tokens: Count | None = None

    def __post_init__(self) -> None:
        counts = msgspec.structs.astuple(self)
        for value in counts:
            if value is not None and (type(value) is not int or not 0 <= value <= MAX_COUNT):
                field = next(name for name, one in zip(self.__struct_fields__, counts, strict=True) if one is value)
                raise UsageError(f"{field} must be a whole number from 0 to 2**53 - 1, or None")
        if counts[2:] != _NOTHING_FURTHER:
            self._check_parts()

    def _check_parts(self) -> None:
        cached = (self.cache_read_input_tokens or 0) + (self.cache_write_input_tokens or 0)
        if cached > (self.input_tokens or 0):
            raise UsageError("cache_read_input_tokens + cache_write_input_tokens must not exceed input_tokens")
        if (self.cache_write_1h_input_tokens or 0) > (self.cache_write_input_tokens or 0):
            raise UsageError("cache_write_1h_input_tokens must not exceed cache_write_input_tokens")
        if (self.input_audio_tokens or 0) > (self.input_tokens or 0):
            raise UsageError("input_audio_tokens must not exceed input_tokens")
        if (self.reasoning_output_tokens or 0) > (self.output_tokens or 0):
            raise UsageError("reasoning_output_tokens must not exceed output_tokens")
        if (self.output_audio_tokens or 0) > (self.output_tokens or 0):
            raise UsageError("output_audio_tokens must not exceed output_tokens")
        if self.total_tokens is not None and (self.input_tokens or 0) + (self.output_tokens or 0) > self.total_tokens:
            raise UsageError("total_tokens must not be smaller than input_tokens + output_tokens")

    @property
    def token_count(self) -> int:
        """All tokens: the total if only that is known, else input + output, with what is not known as 0."""
        if self.total_tokens is not None:
            return self.total_tokens
        return (self.input_tokens or 0) + (self.output_tokens or 0)

    @property
    def split_is_known(self) -> bool:
        """Whether input and output are known apart, so that exact prices apply; a total may be said beside them."""
        if self.input_tokens is None and self.output_tokens is None:
            return False
        return self.total_tokens in (None, (self.input_tokens or 0) + (self.output_tokens or 0))


_NOTHING_FURTHER = (None,) * 7
"""What follows after ``input_tokens`` and ``output_tokens``, where only these are known."""


class ModelCall(Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """One call to a model inside an execution.

    ``cost_usd`` is the event's own cost (a custom function's or the provider's figure); it wins over every price
    list. ``cost_problem`` says why an own cost that should be there is not known; then no price list is asked.
    """

    usage: Usage
    provider: Text | None = None
    model: Text | None = None
    response_model: Text | None = None
    service_tier: Text | None = None
    cost_usd: Decimal | None = None
    cost_problem: Text | None = None
    latency_us: Microseconds | None = None
    time_to_first_token_us: Microseconds | None = None

    def __post_init__(self) -> None:
        if self.cost_usd is not None:
            check_cost(self.cost_usd)


def check_cost(usd: Decimal) -> None:
    """Make sure that a cost can be true and stored.

    Raises:
        UsageError: If it is negative, not finite, more than 10**15 USD, or has more than 800 decimal places.

    >>> check_cost(Decimal("0.03"))
    """
    if not (usd.is_finite() and usd >= 0):
        raise UsageError("cost_usd must be a finite number >= 0")
    if usd > _COST_LIMIT_USD or cast("int", usd.as_tuple().exponent) < -_COST_MOST_PLACES:
        raise UsageError("cost_usd must be at most 10**15 and have at most 800 decimal places")


class Cost(NamedTuple):
    """What one model call cost in USD, where that figure comes from, or why it is not known."""

    status: CostStatus
    usd: Decimal = Decimal(0)
    source: str | None = None
    version: str | None = None
    problem: str | None = None


class Verdict(NamedTuple):
    """What the worker's main process says of an execution that was cut short; None leaves the error that it has."""

    status: Status
    error_type: str | None = None


class TaskEvent(Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """One execution of a task (one attempt) or one monitored call, after its end.

    ``event_id`` is the key of idempotence: a UUIDv7 made once per execution. ``attempt`` is 0 for the first try.
    Waits are ``None`` when they are not known; where two clocks disagree and one would be negative, it is 0 and
    ``clock_skewed`` says so.
    """

    event_id: Identifier
    job_id: Name
    task_name: Name
    status: Status
    started_at_us: Microseconds
    ended_at_us: Microseconds
    latency_us: Microseconds
    error_type: Text | None = None
    task_id: Text | None = None
    root_id: Text | None = None
    parent_id: Text | None = None
    group_id: Text | None = None
    parent_event_id: Identifier | None = None
    attempt: Count = 0
    redelivered: bool = False
    worker: Text | None = None
    queue: Text | None = None
    broker_wait_us: Microseconds | None = None
    prefetch_wait_us: Microseconds | None = None
    clock_skewed: bool = False
    tags: dict[str, str] = {}
    calls: tuple[ModelCall, ...] = ()


class Source(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One process of the host, with its running counters.

    ``captured`` is how many events it has produced up to and including the ones sent with it; ``dropped`` counts those
    that were given up, by reason. ``excluded`` and ``sampled_out`` are executions that the settings leave out: they
    were never events. All of them only grow, so that the writer keeps the largest it has seen, in whatever order.
    """

    source_id: Identifier
    host: Text
    pid: Count
    captured: Count = 0
    dropped: dict[str, Count] = {}
    excluded: Count = 0
    sampled_out: Count = 0


class SourceBatch(Struct, frozen=True, kw_only=True):
    """The events of one source in a batch, each still undecoded."""

    source: Source
    events: Annotated[list[msgspec.Raw], Meta(max_length=BATCH_MAX_EVENTS)]


class Receipt(NamedTuple):
    """The name of a batch that is committed, the queue that it goes to, and whether budgets are asked for there."""

    reply_to: str
    batch_id: str
    asks_budgets: bool = False


class Batch(Struct, frozen=True, kw_only=True):
    """What one message on the queue holds; ``reply_to`` is the queue that its ``batch_id`` goes to after the commit.

    ``is_repetition``: most of its events came already, each by itself.
    ``asks_budgets``: the states of budgets go to that queue too; such a batch may be empty.
    """

    v: int
    sources: Annotated[list[SourceBatch], Meta(max_length=BATCH_MAX_EVENTS)]
    batch_id: Text | None = None
    reply_to: Text | None = None
    is_repetition: bool = False
    asks_budgets: bool = False

    @property
    def receipt(self) -> Receipt | None:
        """The receipt that the sender asks for, if it does."""
        if not self.reply_to or not self.batch_id:
            return None
        return Receipt(self.reply_to, self.batch_id, self.asks_budgets)


_encoder = msgspec.json.Encoder()
_event_decoder = msgspec.json.Decoder(TaskEvent)
_batch_decoder = msgspec.json.Decoder(Batch)


def encode(value: Struct) -> bytes:
    """Encode an event, a call or a source as one line of JSON."""
    return _encoder.encode(value)


def decode_event(data: bytes | msgspec.Raw) -> TaskEvent:
    """Decode one event strictly, whoever sent it.

    Raises:
        msgspec.ValidationError: If a field is missing, of the wrong type or outside of its range.
        msgspec.DecodeError: If it is not JSON.
    """
    try:
        return _event_decoder.decode(data)
    except Exception as error:
        raise _as_decode_error(error) from None


def encode_batch(
    sources: list[tuple[Source, list[bytes]]],
    *,
    batch_id: str | None = None,
    reply_to: str | None = None,
    is_repetition: bool = False,
    asks_budgets: bool = False,
) -> bytes:
    """Put sources and their already encoded events into a batch, without decoding them again."""
    parts = [b'{"source":' + encode(source) + b',"events":[' + b",".join(events) + b"]}" for source, events in sources]
    asked = {"batch_id": batch_id, "reply_to": reply_to}
    about = _encoder.encode(asked | {"is_repetition": is_repetition, "asks_budgets": asks_budgets})[1:-1]
    return b'{"v":%d,%b,"sources":[%b]}' % (WIRE_VERSION, about, b",".join(parts))


def decode_batch(data: str | bytes) -> Batch:
    """Decode a batch, whoever sent it; its events stay raw, to be decoded one by one with :func:`decode_event`.

    Raises:
        msgspec.DecodeError: If it is not a batch of a known version, or a larger one than a sender makes.
    """
    if len(data) > BATCH_MAX_BYTES:
        raise msgspec.DecodeError(f"larger than {BATCH_MAX_BYTES} bytes")
    try:
        batch = _batch_decoder.decode(data)
    except Exception as error:
        raise _as_decode_error(error) from None
    if batch.v != WIRE_VERSION:
        raise msgspec.ValidationError(f"wire version {batch.v} is not known here; upgrade the writer")
    return batch


def _as_decode_error(error: Exception) -> msgspec.DecodeError:
    """The decoder's own error; for what else hostile bytes make it raise, such as on deep nesting, one that says so."""
    if isinstance(error, msgspec.DecodeError):
        return error
    return msgspec.DecodeError(f"it cannot be decoded ({type(error).__name__})")


def clean_text(value: Any) -> str:
    """Make a text fit to be sent and stored: no NUL, valid UTF-8, at most 255 characters.

    >>> clean_text("nightly" + chr(0))
    'nightly'
    """
    text = value if type(value) is str else str(value)
    if len(text) > TEXT_MAX_CHARACTERS:
        text = text[:TEXT_MAX_CHARACTERS]
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode("utf-8")
    return text.replace("\0", "") if "\0" in text else text
