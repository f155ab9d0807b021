"""Messages on their way to the writer, taken out of their queue and put back in another form.

The message itself always goes on; what is added to it must end as duplicates, or in ``metrics_rejected``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from kombu import Connection, Message

from aurea_celery.delivery.broker import metrics_queue
from aurea_celery.settings import Settings

TIMEOUT_SECONDS = 5.0
CONFIRMED = {"confirm_publish": True}
"""Else RabbitMQ may be killed with what it was sent and had not written yet."""


class Tapped(NamedTuple):
    """A message's body as it came, the batch in it, and the bodies to be sent in its place."""

    body: str
    batch: dict[str, Any]
    instead: list[str]


class Tap:
    """Takes one message; ``change`` says what goes in its place, and which texts of that must be rejected."""

    def __init__(self, broker_url: str, change: Callable[[Tapped], list[str]]) -> None:
        self._broker_url, self._change = broker_url, change
        self._connection: Connection | None = None
        self.is_done = False

    def take(self) -> list[str] | None:
        """Deal with the next message, if there is one; the texts that must be rejected, or None if there is none.

        Raises:
            OSError: If the broker does not answer.
        """
        if self._connection is None:
            self._connection = Connection(
                self._broker_url, connect_timeout=TIMEOUT_SECONDS, transport_options=CONFIRMED
            )
        queue = metrics_queue(Settings())(self._connection.default_channel)
        queue.declare()  # RabbitMQ that has forgotten it would close the channel
        message = queue.get(accept=["json"])
        if message is None:
            return None
        planted = self._send_in_its_place(message)
        message.ack()
        self.is_done = True
        return planted

    def _send_in_its_place(self, message: Message) -> list[str]:
        raw: Any = message.body
        body = raw if isinstance(raw, str) else bytes(raw).decode()
        tapped = Tapped(body, json.loads(json.loads(body)[0][0]), [body])
        planted = self._change(tapped)
        assert self._connection is not None
        with self._connection.Producer() as producer:
            for one in tapped.instead:
                producer.publish(
                    one,
                    exchange="",
                    routing_key=Settings().queue,
                    content_type="application/json",
                    content_encoding="utf-8",
                    headers=message.headers,
                    delivery_mode=2,
                    retry=False,
                )
        return planted

    def close(self) -> None:
        """Drop the connection."""
        if self._connection is not None:
            self._connection.release()


def duplicate(tapped: Tapped) -> list[str]:
    """Send it twice."""
    tapped.instead.append(tapped.body)
    return []


def truncate(tapped: Tapped) -> list[str]:
    """Send its first half too."""
    half = tapped.body[: len(tapped.body) // 2]
    tapped.instead.append(half)
    return [half]


def make_older(tapped: Tapped) -> list[str]:
    """Send it too as a version that no writer knows any more."""
    text = json.dumps(tapped.batch | {"v": 0})
    tapped.instead.append(_body_of(text))
    return [text]


def make_newer(tapped: Tapped) -> list[str]:
    """Send it too as a version to come, and in this version with keys that nobody knows yet."""
    sources = [
        {
            **one,
            "source": {**one["source"], "boot": "x"},
            "events": [{**event, "carbon_g": 1} for event in one["events"]],
        }
        for one in tapped.batch["sources"]
    ]
    text = json.dumps(tapped.batch | {"v": 2, "sources": sources})
    known = json.dumps(tapped.batch | {"region": "x", "sources": sources})
    tapped.instead.extend([_body_of(known), _body_of(text)])
    return [text]


def _body_of(batch: str) -> str:
    """A task message's body with a batch as its one argument."""
    return json.dumps([[batch], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])
