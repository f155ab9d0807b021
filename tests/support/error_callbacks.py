"""A user's client that publishes canvases in which a process dies, each with an error callback."""

from __future__ import annotations

from celery import Signature, chain, chord, group

from aurea_celery import job
from tests.support.endings_app import alert, hard_limit, leave, leave_decorated, leave_own_job, notice, succeed

CANVASES: dict[str, Signature[object]] = {
    "task that dies": leave.s().on_error(notice.s()),
    "task that takes too long": hard_limit.s().on_error(notice.s()),
    "chain": chain(succeed.si(), leave.si(), succeed.si()).on_error(notice.s()),
    "chord with a dead member": chord([succeed.si(), leave.si()], succeed.s().on_error(notice.s())),
    "chord with a late member": chord([succeed.si(), hard_limit.si()], succeed.s().on_error(notice.s())),
    "chord of chains": chord(
        [chain(succeed.si(), leave.si(), succeed.si()), succeed.si()], succeed.s().on_error(notice.s())
    ),
    "chord in a chain": chain(succeed.si(), group(succeed.si(), leave.si()), succeed.si()).on_error(notice.s()),
    "chord with a group as its body": chord(
        [succeed.si(), leave.si()], group(succeed.si().on_error(notice.s()), succeed.si())
    ),
    "callback that sends": leave.s().on_error(alert.s()),
    "chord's callback that sends": chord([succeed.si(), leave.si()], succeed.s().on_error(alert.s())),
}


def main() -> None:
    """Publish each twice, the second time without a job that is named."""
    for name, canvas in CANVASES.items():
        with job(name, tags={"canvas": name}):
            canvas.clone().apply_async()
        canvas.clone().apply_async()
    for task in (leave_own_job, leave_decorated):
        task.s().on_error(notice.s()).apply_async()


if __name__ == "__main__":
    main()
