"""What is posted twice is one metric: by the id that its client gave, or by the request's Idempotency-Key.

The header is that of the IETF's draft (draft-ietf-httpapi-idempotency-key-header), and so is 422 for another body.
"""

from __future__ import annotations

import hashlib
import uuid

import msgspec
from flask import Request, abort

from aurea_api.metric_fields import Fields
from aurea_celery.events import TEXT_MAX_CHARACTERS

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
NAMESPACE = uuid.UUID("8d2c1c55-5d0a-4a0e-9a5b-6f1f6c0b8a11")
"""Of the ids that are made of keys; it never changes, else a key would be new after an upgrade."""


def identify(request: Request, items: list[Fields]) -> dict[str, bytes]:
    """Give each item of a request with a key its id, and tell what was posted by each id that a client gave.

    Raises:
        werkzeug.exceptions.HTTPException: 400 if the key is no key, or there are ids beside it; 422 if two items have
            one id and are not the same.
    """
    digests: dict[str, bytes] = {}
    key = _key(request)
    if key is not None:
        whole = _digest(items)
        for number, item in enumerate(items):
            if "event_id" in item:
                abort(400, f"event_id and {HEADER} must not be sent together; each makes a metric one of its kind")
            item["event_id"] = str(uuid.uuid5(NAMESPACE, f"{request.path}\0{number}\0{key}"))
            digests[item["event_id"]] = whole
        return digests
    for item in items:
        if "event_id" in item and digests.setdefault(item["event_id"], _digest(item)) != _digest(item):
            abort(422, f"two metrics of this request have the event_id {item['event_id']} and are not the same")
    return digests


def _key(request: Request) -> str | None:
    key = request.headers.get(HEADER)
    if key is not None and not 1 <= len(key) <= TEXT_MAX_CHARACTERS:
        abort(400, f"{HEADER} must be a text of 1 to {TEXT_MAX_CHARACTERS} characters")
    return key


def _digest(value: Fields | list[Fields]) -> bytes:
    """A hash of what is said, in whatever order and with whatever spaces."""
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).digest()
