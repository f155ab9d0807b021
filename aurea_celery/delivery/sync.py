"""Sync delivery: an execution's event is with the broker, confirmed, before its task is acknowledged.

For hosts whose disk dies with them. The event is in the outbox first, and goes its way from there, as ever. A copy
travels ahead: a thread of the process sends it over a connection of its own, made for the first event, while the task
waits, ``aurea_sync_timeout_seconds`` at most. The writer knows what comes second by its id. The events of tasks that
end at the same time go in one message.

A thread, and not the task itself, because nothing else bounds it all: name resolution, handshakes and answers that are
each a bit late add up. While the broker does not answer in time, only this thread tries it, and no further task waits.
"""

from __future__ import annotations

import queue
import threading
import time

from aurea_celery._guard import fault_counts
from aurea_celery.delivery.outbox import Outbox
from aurea_celery.delivery.sender import Backlog, Sender, note_no_answer
from aurea_celery.events import encode_batch
from aurea_celery.settings import Settings

FIRST_BACK_OFF_SECONDS, MAX_BACK_OFF_SECONDS = 1.0, 10.0


class _Letter:
    """An event that a task waits for."""

    def __init__(self, event: bytes) -> None:
        self.event = event
        self.is_given_up = False
        self._is_sent = False
        # A bare lock, and not an Event: a time limit that is raised while the task waits leaves it whole.
        self._answered = threading.Lock()
        self._answered.acquire()

    def wait(self, seconds: float) -> bool:
        """Wait for the answer; whether there was one in time."""
        return self._answered.acquire(timeout=seconds)

    def answer(self) -> None:
        """Let the task go on."""
        self._answered.release()


class SyncDelivery:
    """Sends final events of one process while their tasks wait. Thread-safe; not to be used across a fork.

    ``broker_answers`` is what is known before the first event.
    """

    def __init__(self, outbox: Outbox, sender: Sender, settings: Settings, *, broker_answers: bool = True) -> None:
        self._outbox = outbox
        self._sender = sender
        self._settings = settings
        self._backlog = Backlog(sender, settings)
        self._letters: queue.SimpleQueue[_Letter | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._start_lock = threading.Lock()
        self._stopping = False
        self._is_open = broker_answers
        self._look_at = 0.0
        self._back_off_seconds = FIRST_BACK_OFF_SECONDS

    def send(self, event: bytes) -> None:
        """Send an encoded event and wait for the broker's confirmation, unless it did not answer in time before."""
        if self._thread is None:
            self._start()
        if not self._is_open:
            return
        letter = _Letter(event)
        self._letters.put(letter)
        if not letter.wait(self._settings.sync_timeout_seconds):
            letter.is_given_up = True
            self._close(TimeoutError())
            self._letters.put(None)  # the thread may have become idle just before that

    def stop(self, timeout_seconds: float) -> None:
        """Close the connection; an event that comes later makes a new one."""
        with self._start_lock:
            thread = self._thread
            if thread is not None:
                self._stopping = True
                self._letters.put(None)
                thread.join(max(0.0, timeout_seconds) if self._is_open else 0.0)

    def _start(self) -> None:
        with self._start_lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="aurea-sync", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stopping:
                if letters := self._next_letters():
                    self._deliver(letters)
                elif not self._is_open and time.monotonic() >= self._look_at:
                    self._look()
        finally:
            self._sender.close()
            self._thread, self._stopping = None, False

    def _next_letters(self) -> list[_Letter]:
        """What tasks wait for, as soon as there is something; nothing when it is time to look at the broker again."""
        letters = []
        try:
            patience = None if self._is_open else max(0.0, self._look_at - time.monotonic())
            letters.append(self._letters.get(timeout=patience))
            while len(letters) < self._settings.batch_events:
                letters.append(self._letters.get_nowait())
        except queue.Empty:
            pass
        return [letter for letter in letters if letter is not None and not letter.is_given_up]

    def _deliver(self, letters: list[_Letter]) -> None:
        """Send one message and let the tasks go on; what cannot be sent is in the outbox."""
        events = [letter.event for letter in letters]
        try:
            if not self._try_twice(events):
                self._close()
            elif not any(letter.is_given_up for letter in letters):
                self._back_off_seconds = FIRST_BACK_OFF_SECONDS
        except Exception as error:
            self._close(error)
        for letter in letters:
            letter.answer()

    def _try_twice(self, events: list[bytes]) -> bool:
        """Send one message; a connection that was idle may be dead, so that a second try with a new one is worth it."""
        try:
            return self._try(events)
        except Exception:
            return self._try(events)

    def _try(self, events: list[bytes]) -> bool:
        """Send one message, unless too many wait already; whether it is confirmed."""
        if self._backlog.is_full():
            return False
        self._sender.send(encode_batch([(self._outbox.source, events)]), len(events))
        self._backlog.note_sent()
        return True

    def _look(self) -> None:
        """Let tasks wait again if the broker answers in time."""
        begun = time.monotonic()
        try:
            takes_more = not self._backlog.look()
            self._is_open = takes_more and time.monotonic() - begun <= self._settings.sync_timeout_seconds
        except Exception:
            fault_counts["aurea_celery.delivery.sync"] += 1
        self._back_off()

    def _close(self, error: Exception | None = None) -> None:
        """Let no task wait until the broker answers again."""
        if not self._is_open:
            return
        self._is_open = False
        self._back_off()
        if error is not None:
            fault_counts["aurea_celery.delivery.sync"] += 1
            note_no_answer(error, self._outbox.root)

    def _back_off(self) -> None:
        """Look at the broker after a while, and after twice as long the next time."""
        self._look_at = time.monotonic() + self._back_off_seconds
        self._back_off_seconds = min(2 * self._back_off_seconds, MAX_BACK_OFF_SECONDS)
