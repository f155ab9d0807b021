"""The publisher: a thread that brings finished events from outbox folders to the broker.

It runs in a worker's main process, where it ships the folders of its pool children too, and in every other process
that makes events by itself. Pool children have no publisher and nothing to flush. It also adopts the folders of dead
processes and closes the executions they left open.
"""

from __future__ import annotations

import threading
import time

import msgspec

from aurea_celery._guard import fault_counts, report_fault
from aurea_celery.clock import new_event_id
from aurea_celery.delivery.budgets import BudgetQuestions
from aurea_celery.delivery.endings import VERDICT_SECONDS, Endings
from aurea_celery.delivery.folder import Folder, OpenExecution
from aurea_celery.delivery.folders import Folders
from aurea_celery.delivery.outbox import Outbox
from aurea_celery.delivery.receipts import NOTHING, Received
from aurea_celery.delivery.segment import Parcel
from aurea_celery.delivery.sender import Backlog, Sender, note_no_answer
from aurea_celery.events import Source, encode_batch
from aurea_celery.settings import Settings

MAX_BACK_OFF_SECONDS = 30.0
UNKNOWN_WRITER_SECONDS = 0.5
RECEIPT_POLL_SECONDS = 0.02
FRESH_SECONDS, SHORT_PAUSE_SECONDS = 5.0, 0.1
FULL_BATCH_BYTES = 4 * 1024 * 1024
"""With so much in a message no further folder is added: brokers and writers have their limits."""

RECEIPTS_SHARE = 0.9
"""Of the time that a stopping process has, for sending and for receipts; the rest is for cleaning up."""


class Publisher:
    """Ships one process's outbox, its children's, and orphaned ones. Nothing it does raises into the host."""

    def __init__(self, outbox: Outbox, sender: Sender, settings: Settings) -> None:
        self._outbox = outbox
        self.endings = Endings()
        self._sender = sender
        self._settings = settings
        self._folders = Folders(outbox)
        self._budgets = BudgetQuestions(outbox.root, settings.budget_refresh_seconds)
        self._thread: threading.Thread | None = None
        self._start_lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = False
        self._back_off_seconds = 0.0
        self._backlog = Backlog(sender, settings)
        self._is_answered = False
        self._stop_at = self._gone_at = 0.0
        self._most_sent_bytes = settings.outbox_max_bytes // 2

    @property
    def is_backing_off(self) -> bool:
        """Whether the broker did not answer when it was asked last."""
        return self._back_off_seconds > 0

    def ensure_running(self) -> None:
        """Start the thread if it does not run yet."""
        if self._thread is None:
            self._start()

    def send_soon(self) -> None:
        """Send at once what is only in memory, which is gone with the process; unless the broker is away anyway."""
        self.ensure_running()
        if not self.is_backing_off:
            self._wake.set()

    def stop(self, timeout_seconds: float) -> None:
        """Send what is left, for at most ``timeout_seconds``; the rest stays in the outbox.

        A worker's process is told twice, by Celery and at its exit: the time of the first counts.
        Events that come later start it again: a process may outlive the worker that ran in it.
        """
        with self._start_lock:
            thread = self._thread
            if thread is not None:
                if not self._stopping:
                    now = time.monotonic()
                    self._stop_at, self._gone_at = now + RECEIPTS_SHARE * timeout_seconds, now + timeout_seconds
                    self._stopping = True
                self._wake.set()
                thread.join(max(0.0, self._gone_at - time.monotonic()))

    def ship(self) -> None:
        """Send everything there is to send now.

        Raises:
            Exception: Whatever the broker raises; what was not confirmed is sent again next time.
        """
        for event in self.endings.take_due(at_once=self._stopping):
            self._outbox.finish(event)
        self._take_answers()
        folders = list(self._folders.due())
        while self._ship_batch(folders) and not self._is_late():
            pass
        for folder in folders:
            if folder.adopted:
                self._close_orphan(folder)
        if not self._stopping and self._asks and self._budgets.must_ask() and not self._backlog.is_full():
            self._send([])

    def _start(self) -> None:
        with self._start_lock:
            if self._thread is None and not self._stopping:
                self._thread = threading.Thread(target=self._run, name="aurea-publisher", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._wake.wait(self._back_off_seconds or self._pause_seconds())
                if not self._stopping:
                    self._wake.clear()
                    self._try_to_ship()
            self._try_to_ship()  # whatever was recorded before the stop
            self._await_receipts()
            self._clean_up()
        finally:  # the next event starts another one, also if nobody waited for this one's end
            self._wake.clear()
            self._thread, self._stopping = None, False

    def _pause_seconds(self) -> float:
        """How long to wait before the next round: shortly while an answer comes, or while a folder can soon go.

        Children that live for one task leave many folders, and only some are taken over at a time.
        """
        flush_seconds = self._settings.flush_interval_seconds
        now = time.monotonic()
        fresh = any(folder.adopted and now - folder.adopted_at < FRESH_SECONDS for folder in self._folders)
        if fresh or self._budgets.expects_answer:
            return min(flush_seconds, SHORT_PAUSE_SECONDS)
        return flush_seconds

    def _await_receipts(self) -> None:
        """Give the writer a moment, or more if one is known to live: less is left for the next process."""
        until = self._stop_at if self._is_answered else min(self._stop_at, time.monotonic() + UNKNOWN_WRITER_SECONDS)
        while any(len(folder.in_flight) for folder in self._folders) and time.monotonic() < until:
            time.sleep(RECEIPT_POLL_SECONDS)
            self._try_to_ship()

    def _try_to_ship(self) -> None:
        """Ship, or back off; the transports' errors share no base class, so that every one means: later."""
        try:
            self.ship()
            self._back_off_seconds = 0.0
        except Exception as error:
            fault_counts["aurea_celery.delivery.publisher"] += 1
            self._back_off_seconds = min(2 * self._back_off_seconds or 1.0, MAX_BACK_OFF_SECONDS)
            note_no_answer(error, self._outbox.root)

    def _ship_batch(self, folders: list[Folder]) -> bool:
        """Send one message with what the folders have next; whether more is there already.

        What comes meanwhile waits for the next round: else there would be a message for every few events, and no end.
        """
        room, size = self._settings.batch_events, 0
        parcels: list[tuple[Folder, Parcel]] = []
        for folder in folders:
            parcel = self._read(folder, room) if room and size < FULL_BATCH_BYTES else None
            if parcel is not None:
                parcels.append((folder, parcel))
                room -= len(parcel.events)
                size += sum(map(len, parcel.events))
        batch = [(parcel.source, parcel.events) for _, parcel in parcels]
        overflow = self._outbox.overflow.read(room)
        if overflow:
            batch.append((self._outbox.source, overflow))
        if not batch or self._backlog.is_full():
            return False
        batch_id = self._send(batch)
        for folder, parcel in parcels:
            folder.commit(parcel, batch_id)
        self._outbox.overflow.commit()
        return any(parcel.has_more for _, parcel in parcels) or room <= len(overflow) or size >= FULL_BATCH_BYTES

    def _is_late(self) -> bool:
        """Whether a stop was asked for and its time is over."""
        return self._stopping and time.monotonic() > self._stop_at

    def _send(self, batch: list[tuple[Source, list[bytes]]]) -> str | None:
        """Send one message; its name, if a receipt will come."""
        reply_to = self._sender.open_receipts()
        batch_id = new_event_id() if reply_to else None
        asks = self._asks and self._budgets.may_ask()
        if not batch and not asks:
            return None
        message = encode_batch(
            batch,
            batch_id=batch_id,
            reply_to=reply_to,
            is_repetition=self._settings.delivery == "sync",
            asks_budgets=asks,
        )
        self._sender.send(message, sum(len(events) for _, events in batch))
        self._backlog.note_sent()
        if asks:
            self._budgets.note_asked()
        return batch_id

    @property
    def _asks(self) -> bool:
        """Whether answers are taken, and budgets are enforced."""
        return bool(self._sender.reply_to and self._settings.budget_refresh_seconds)

    def _take_answers(self) -> None:
        """Let go of what has arrived, and send again what the broker has lost."""
        waiting = [folder for folder in self._folders if len(folder.in_flight)]
        received = self._receive() if waiting or self._budgets.is_waiting else NOTHING
        self._is_answered = self._is_answered or bool(received.batch_ids)
        self._budgets.take(received.budgets)
        for folder in waiting:
            folder.in_flight.receive(received.batch_ids)
            folder.trust_broker(after_seconds=self._settings.keep_sent_seconds, most_bytes=self._most_sent_bytes)
            if folder.in_flight.is_overdue(self._settings.resend_seconds) and self._is_lost(folder):
                folder.send_again()

    def _receive(self) -> Received:
        """Return what writers have answered; what goes wrong there does not keep anything from being sent."""
        try:
            return self._sender.receive()
        except Exception:
            fault_counts["aurea_celery.delivery.publisher"] += 1
            return NOTHING

    def _is_lost(self, folder: Folder) -> bool:
        """Whether what waits for its receipt is no longer with the broker; it keeps what it has in order."""
        return folder.in_flight.is_overtaken or not self._sender.waiting_messages()

    def _read(self, folder: Folder, limit: int) -> Parcel | None:
        """What a folder has next; one that cannot be read does not hold up the others."""
        try:
            return folder.read(limit)
        except (OSError, msgspec.DecodeError) as error:
            self._folders.leave_alone(folder, error)
            return None

    def _close_orphan(self, folder: Folder) -> None:
        """Everything finished is shipped: close what the dead process left open, and remove its folder."""
        if not folder.adopted or self._read(folder, 1) is not None or not folder.adopted:
            return
        if not folder.is_closed and not self._close_open(folder):
            return
        if not len(folder.in_flight):
            self._folders.remove(folder)

    def _close_open(self, folder: Folder) -> bool:
        """Send what a dead process left open, unless its verdict may still come; whether that is done."""
        try:
            opened = folder.read_open()
        except (OSError, msgspec.DecodeError) as error:
            self._folders.leave_alone(folder, error)
            return False
        if self._verdict_may_come(folder, opened):
            return False
        closed = folder.close_open(opened, self.endings.verdict_on)
        if closed is not None:
            folder.commit(closed, self._send([(closed.source, closed.events)]))
        folder.is_closed = True
        return True

    def _verdict_may_come(self, folder: Folder, opened: dict[str, OpenExecution]) -> bool:
        """Whether this process may still hear why its own pool child's executions were cut short."""
        waiting = any(self.endings.verdict_on(event_id) is None for event_id in opened)
        fresh = time.monotonic() - folder.adopted_at < VERDICT_SECONDS
        return self._folders.is_of_child(folder) and waiting and fresh and not self._stopping

    def release_after_fork(self) -> None:
        """Close this process's copies of the parent's locks; the parent keeps them."""
        self._folders.release()

    def _clean_up(self) -> None:
        """Close the connection, and remove the own folders if nothing is left in them."""
        try:
            self._sender.remove_receipts()
            self._sender.close()
            own = self._folders.take_own()
            self._outbox.close()  # from here on nothing is written to these folders
            for folder in own:
                if not folder.adopt():
                    continue
                if folder.read(1) is None and not folder.read_open() and not len(folder.in_flight):
                    folder.remove()
                else:
                    folder.release()
        except Exception as error:
            report_fault("aurea_celery.delivery.publisher", error)
