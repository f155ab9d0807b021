"""A user's client that publishes every kind of canvas, each as a job of its own."""

from __future__ import annotations

from celery import Signature, chain, chord, group

from aurea_celery import job
from tests.support.endings_app import fail, notice, succeed

CANVASES: dict[str, Signature[object]] = {
    "chain": chain(succeed.s(), succeed.s(), succeed.s()),
    "group": group(succeed.s() for _ in range(4)),
    "chord": chord([succeed.s() for _ in range(3)], succeed.s()),
    "chain of a group": chain(succeed.s(), group(succeed.s(), succeed.s()), succeed.s()),
    "map": succeed.map([1, 2, 3]),
    "starmap": succeed.starmap([(1, 2), (3, 4)]),
    "chunks": succeed.chunks([(1,), (2,), (3,), (4,)], 2),
    "link": succeed.s().set(link=succeed.s()),
    "link_error": fail.s().set(link_error=notice.s()),
    "link_error, old style": fail.s().set(link_error=succeed.s()),
}


def main() -> None:
    """Publish all."""
    for name, canvas in CANVASES.items():
        with job(name):
            canvas.apply_async()


if __name__ == "__main__":
    main()
