"""Where the events for one broker lie must not change with kombu's release, nor tell its password."""

from __future__ import annotations

import pytest
from kombu import Connection

from aurea_celery.delivery.folders import outbox_root
from aurea_celery.queue_look import address_of
from aurea_celery.settings import Settings


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://cache:6379/0", "redis://cache:6379/0"),
        ("redis://:secret@cache:6379/0", "redis://cache:6379/0"),
        ("redis://user:secret@cache:6379/1", "redis://user:**@cache:6379/1"),
        ("sentinel://a:1/0;sentinel://b:2/0", "sentinel://a:1/0"),
        ("amqp://user:secret@rabbit//", "amqp://user:**@rabbit:5672//"),
    ],
)
def test_a_broker_is_known_by_one_address_in_every_release_of_kombu(url: str, shown: str) -> None:
    assert address_of(Connection(url)) == shown


def test_the_outbox_of_a_broker_stays_where_it_is() -> None:
    """A folder that is called otherwise after an upgrade would leave what is in it behind."""
    settings = Settings(outbox_dir="/var/lib/aurea")

    root = outbox_root(Connection("redis://cache:6379/0"), settings)

    assert root.as_posix() == "/var/lib/aurea/08e5bac85af9"
