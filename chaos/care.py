"""Care for messages that Redis has sent to a consumer and that nobody has in hand yet.

Redis takes a message out of its queue when it sends it, and knows it among the unacknowledged ones only when the
consumer says so, some milliseconds later; and it sends one to a consumer that is dead, while it has not heard of that
yet. Such a message is lost. As long as nothing promises to survive that, the faults that would do so by chance stop all
senders, wait until no message is on that way, and let them go on when Redis has heard of the death.
``writer_killed_frozen`` does it on purpose.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from chaos.stack import Stack, send_signal

LOOK_SECONDS = 0.05
LOOKS = 4
PATIENCE_SECONDS = 5.0


@contextlib.contextmanager
def nothing_on_its_way(stack: Stack) -> Iterator[None]:
    """While this lasts, no message is between the writers' queue and a writer, if the broker is one that loses it."""
    if not stack.broker.loses_what_it_sends:
        yield
        return
    senders = [pid for slot in stack.workers for pid in slot.family() if not _is_stopped(pid)]
    for pid in senders:
        send_signal(pid, signal.SIGSTOP)
    try:
        _wait_for_calm(stack)
        yield
        _wait_for_calm(stack)
    finally:
        for pid in senders:
            send_signal(pid, signal.SIGCONT)


def _wait_for_calm(stack: Stack) -> None:
    """Wait until the queue looks the same a few times; not for ever, since writers may be frozen."""
    until = time.monotonic() + PATIENCE_SECONDS
    looks: list[int] = []
    while time.monotonic() < until and (len(looks) < LOOKS or len(set(looks[-LOOKS:])) > 1):
        looks.append(_waiting(stack))
        time.sleep(LOOK_SECONDS)


def _waiting(stack: Stack) -> int:
    """How many messages wait for a writer; a broker that is away sends none."""
    try:
        return stack.broker.messages("aurea_metrics", "aurea_metrics.unacked_index")
    except Exception:  # whatever its client raises
        return -1


def _is_stopped(pid: int) -> bool:
    """Whether a fault has frozen a process already, which must stay so; or it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "TZ"
    except OSError:
        return True
