"""What is kept of a message that is not a batch of ours: enough to find its sender, and nothing of what it says.

The arguments of the host's tasks may come into the writer's queue by mistake. They are the user's, and never stored.
"""

from __future__ import annotations

import hashlib
import re
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from aurea_celery.events import Count, Text, clean_text

BATCH_BEGINNING = re.compile(r'\{\s*"v"\s*:\s*\d+\s*,\s*"')
"""How the text of a batch begins, of whatever version; see :func:`aurea_celery.events.encode_batch`."""

DEADLY_MAX_CHARACTERS = 1024 * 1024
"""What is kept of a batch that no process survives: far more than one usually has."""


class ForeignMessage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A message that was not written; ``body`` is the beginning of a batch of ours, and of nothing else."""

    why: Text
    task: Text | None
    id: Text | None
    bytes: Count
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    body: Annotated[str, Meta(max_length=DEADLY_MAX_CHARACTERS)] | msgspec.UnsetType = msgspec.UNSET


class _Description(Struct, frozen=True, forbid_unknown_fields=True):
    """The argument of the message that the consumer sends on: no batch can be mistaken for it."""

    foreign_message: ForeignMessage


_decoder = msgspec.json.Decoder(_Description)


def describe(why: str, task: object, message_id: object, body: object, batch: str | None = None) -> bytes:
    """Describe a message that is not to be written, as a JSON text that no batch can be mistaken for.

    Args:
        why: What is wrong with it.
        task: The name of the task that it calls, if it calls one and that is not ours.
        message_id: What tells it from others with the same body, if anything does.
        body: What it says, of which size and hash are kept.
        batch: Its argument, if it calls our task; the beginning is kept if it is a batch's.
    """
    raw = _as_bytes(body)
    described = ForeignMessage(
        why=why,
        task=clean_text(task) if isinstance(task, str) else None,
        id=clean_text(message_id) if isinstance(message_id, str) else None,
        bytes=len(raw),
        sha256=hashlib.sha256(raw).hexdigest(),
        body=_storable(batch[:DEADLY_MAX_CHARACTERS]) if batch and is_ours(batch) else msgspec.UNSET,
    )
    return msgspec.json.encode(_Description(described))


def read_description(text: str) -> ForeignMessage | None:
    """Return what :func:`describe` made, or None if the text is something else."""
    try:
        described = _decoder.decode(text).foreign_message
    except Exception:  # whatever hostile bytes make a decoder raise
        return None
    return described if described.body is msgspec.UNSET or is_ours(described.body) else None


def is_ours(text: str) -> bool:
    """Return whether an argument of our task is a batch, though perhaps one that cannot be read."""
    return BATCH_BEGINNING.match(text) is not None


def _as_bytes(body: object) -> bytes:
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body)
    return str(body).encode("utf-8", "surrogatepass")


def _storable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
