"""One run: tasks are sent, faults come and go, whatever ends is started again, and all of it comes to rest."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from celery import Celery
from kombu import Producer

from chaos.faults import Fault
from chaos.kinds import FAULTS
from chaos.schedule import Assignment, Step
from chaos.stack import Stack, end_all

TICK_SECONDS = 0.05
STALL_SECONDS = 25.0
QUIET_SECONDS = 3.0
MOST_SENT_AGAIN = 20
LOOK_SECONDS = 2.0
SEND_AGAIN_SECONDS = 0.5
ONE_TRY = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}
"""Else kombu connects for ever, at ever longer intervals."""

Say = Callable[[str], None]


class Counts(NamedTuple):
    """What a run did."""

    faults: int
    begun: int
    started_again: int
    ended_by_themselves: int
    stood_still: int


class Sender(threading.Thread):
    """The user's client: sends tasks by their ids, and again those that the broker did not take."""

    def __init__(self, broker_url: str, tasks: Mapping[str, Assignment]) -> None:
        super().__init__(name="sender", daemon=True)
        self._app = Celery("client", broker=broker_url, broker_transport_options=ONE_TRY)
        self._tasks = list(tasks.items())
        self._stopping = threading.Event()

    def run(self) -> None:
        """Send all of them."""
        sent = 0
        while sent < len(self._tasks) and not self._stopping.is_set():
            try:
                with self._app.producer_pool.acquire(block=True) as producer:
                    for task_id, task in self._tasks[sent:]:
                        self._send(task_id, task, producer)
                        sent += 1
            except Exception:
                self._stopping.wait(SEND_AGAIN_SECONDS)
        self._app.close()

    def _send(self, task_id: str, task: Assignment, producer: Producer) -> None:
        self._app.send_task(
            "chaos.late" if task.late else "chaos.early",
            args=task.arguments(),
            task_id=task_id,
            headers={"aurea_job": task.job_id},
            producer=producer,
            retry=False,
        )

    def stop(self) -> None:
        """Give up."""
        self._stopping.set()


class Run:
    """The loop that does everything at its time."""

    def __init__(self, stack: Stack, steps: list[Step], tasks: list[Assignment], say: Say) -> None:
        self._stack, self._say = stack, say
        self._tasks = {f"task-{number}": task for number, task in enumerate(tasks)}
        self._waiting = [FAULTS[step.kind](stack, step) for step in steps]
        self._active: list[Fault] = []
        self._done = 0
        self._sender = Sender(stack.broker.url, self._tasks)
        self._began_at = time.monotonic()
        self._moved_at, self._lines, self._stood_still = time.monotonic(), 0, 0
        self._sent_again = 0
        self._left_at_the_broker, self._looked_at = 0, float("-inf")

    def go(self) -> Counts:
        """Send the tasks, let all faults come and go, and wait until every task has run."""
        self._sender.start()
        try:
            while self._tick():
                time.sleep(TICK_SECONDS)
        finally:
            self._sender.stop()
        slots = self._stack.slots
        again = sum(slot.started_again for slot in slots)
        by_themselves = sum(slot.ended_by_itself for slot in slots)
        return Counts(self._done, self._stack.truth.begun_count, again, by_themselves, self._stood_still)

    def _tick(self) -> bool:
        """Do what is to be done now; whether there will be more."""
        for sentence in self._stack.tend():
            self._say(sentence)
        for fault in [one for one in self._active if one.is_over()]:
            fault.end()
            self._active.remove(fault)
            self._moved_at = time.monotonic()  # a server may have taken its time to start
            self._note(fault.step, "over")
        is_busy = self._is_busy() or self._send_what_was_forgotten()
        if self._waiting and (self._is_due(self._waiting[0]) or not is_busy):
            self._begin(self._waiting[0])
        self._look_for_a_standstill()
        return bool(self._waiting or self._active or is_busy)

    def _send_what_was_forgotten(self) -> bool:
        """Whether the user's client sends tasks again, which a broker has forgotten or a kill has taken."""
        begun = {one.task_id for one in self._stack.truth.executions.values() if one.begun}
        missing = {task_id: task for task_id, task in self._tasks.items() if task_id not in begun}
        if not missing or self._sent_again >= MOST_SENT_AGAIN:
            return False
        self._sent_again += 1
        self._moved_at = time.monotonic()
        self._sender = Sender(self._stack.broker.url, missing)
        self._sender.start()
        self._say(f"{len(missing)} tasks that never began are sent again")
        return True

    def _is_due(self, fault: Fault) -> bool:
        """Whether enough tasks have begun."""
        return self._stack.truth.begun_count >= fault.step.share * len(self._tasks)

    def _begin(self, fault: Fault) -> None:
        """Begin a fault, unless it must wait for another one or for its victim."""
        if any(fault.resources & other.resources for other in self._active) or not fault.may_begin():
            return
        self._waiting.remove(fault)
        said = fault.begin()
        self._active.append(fault)
        self._done += 1
        self._note(fault.step, said)

    def _note(self, step: Step, said: str) -> None:
        seconds = time.monotonic() - self._began_at
        self._say(f"{seconds:7.1f} s  {self._stack.truth.begun_count:6} begun  {step.number:3} {step.kind}: {said}")

    @property
    def _quiet_seconds(self) -> float:
        """How long no task was sent again or has written anything down, and no fault was on its way."""
        return time.monotonic() - self._moved_at

    def _is_busy(self) -> bool:
        """Whether a task may still run, of those that were sent."""
        if self._sender.is_alive() or self._quiet_seconds < QUIET_SECONDS:
            return True
        if time.monotonic() - self._looked_at > LOOK_SECONDS:  # RabbitMQ's answer takes its tools a second
            self._left_at_the_broker = self._stack.broker.messages("celery", "unacked_index")
            self._looked_at = time.monotonic()
        return self._left_at_the_broker > 0

    def _look_for_a_standstill(self) -> None:
        """Workers of Celery that stand still after a fault are started again, as an operator would; it is counted."""
        now = time.monotonic()
        if self._lines != self._stack.truth.line_count or self._active:
            self._lines, self._moved_at = self._stack.truth.line_count, now
        elif now - self._moved_at > STALL_SECONDS:
            self._stood_still += 1
            self._say("the workers stand still and are started again")
            for sentence in end_all(self._stack.workers):
                self._say(sentence)
            self._moved_at = time.monotonic()
