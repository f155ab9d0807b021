"""``python -m chaos``: run tasks over real processes, hurt everything on the way, and compare rows with the truth."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from chaos.brokers import MissingServer
from chaos.kinds import FAULTS
from chaos.rest import come_to_rest, find, summary_of
from chaos.run import Run
from chaos.schedule import Step, plan_faults, plan_tasks
from chaos.stack import Stack

CLEAN, FOUND, NOT_RUN = 0, 1, 2
DELIVERIES = ("background", "sync")
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM)
APPS = {"none": "chaos.app", "ack-before-commit": "chaos.broken_app"}


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="make chaos", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1, help="what decides tasks and faults")
    parser.add_argument("--tasks", type=int, default=20_000, help="how many tasks are sent")
    parser.add_argument("--faults", type=int, default=45, help="how many faults come")
    parser.add_argument("--broker", choices=["redis", "rabbitmq"], default="redis", help="Valkey, or RabbitMQ")
    parser.add_argument("--delivery", choices=DELIVERIES, default="background", help="aurea_delivery of the workers")
    parser.add_argument("--workers", type=int, default=3, help="workers of the user's")
    parser.add_argument("--concurrency", type=int, default=2, help="children of each worker")
    parser.add_argument("--writers", type=int, default=2, help="writers")
    parser.add_argument(
        "--pause-ms", type=float, default=15, help="how long a task pauses around each call, on average"
    )
    parser.add_argument("--kinds", nargs="+", choices=sorted(FAULTS), default=tuple(FAULTS), metavar="KIND",
                        help=f"which faults; one of: {', '.join(FAULTS)}")  # fmt: skip
    parser.add_argument(
        "--without", nargs="+", choices=sorted(FAULTS), default=[], metavar="KIND", help="but not these"
    )
    parser.add_argument("--bug", choices=sorted(APPS), default="none", help="a bug put into the writers on purpose")
    parser.add_argument("--keep", action="store_true", help="keep the folder with logs and truth")
    parser.add_argument("--plan", action="store_true", help="print the faults and end")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; 0 if nothing is lost, duplicated or wrong, 1 if something is, 2 if a server is missing."""
    options = parse(arguments)
    kinds = [kind for kind in options.kinds if kind not in options.without]
    steps = plan_faults(options.seed, options.faults, kinds)
    sizes = f"{options.tasks} tasks, {options.faults} faults"
    say(f"seed {options.seed}, {sizes}, {options.broker}, {options.delivery}, bug: {options.bug}")
    if options.plan:
        for step in steps:
            say(f"{step.number:3}  {step.share:6.1%}  {step.kind} {step.seconds:.1f} s")
        return CLEAN
    folder = Path(tempfile.mkdtemp(prefix="aurea-chaos-"))
    folder.chmod(0o755)  # PostgreSQL runs as another user when we are root
    try:
        return run(options, folder, steps)
    except MissingServer as error:
        print(f"chaos: {error}", file=sys.stderr)
        return NOT_RUN
    finally:
        if options.keep:
            say(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def run(options: argparse.Namespace, folder: Path, steps: list[Step]) -> int:
    """Run in a folder."""
    began_at = time.monotonic()
    tasks = plan_tasks(options.seed, options.tasks, options.pause_ms / 1000)
    sizes = {"workers": options.workers, "concurrency": options.concurrency, "writers": options.writers}
    with Stack(folder, options.broker, writer_app=APPS[options.bug], delivery=options.delivery, **sizes) as stack:
        counts = Run(stack, steps, tasks, say).go()
        come_to_rest(stack, say)
        verdict, audited = find(stack, len(tasks))
    seconds = time.monotonic() - began_at
    say(
        f"{counts.faults} faults, {counts.begun} executions begun, {counts.started_again} processes started again, "
        f"of which {counts.ended_by_themselves} had ended by themselves, "
        f"workers stood still {counts.stood_still} times, {seconds:.0f} s"
    )
    say(summary_of(verdict, audited, seconds))
    return CLEAN if verdict.is_good else FOUND


def say(text: str) -> None:
    """One line, at once."""
    print(text, flush=True)


def end_in_order(number: int, _: FrameType | None) -> None:
    """Called for SIGINT and SIGTERM: what was started is ended on the way out, undisturbed by another signal.

    Raises:
        SystemExit: With the status that a shell shows for a process that was ended so.
    """
    for one in ENDING_SIGNALS:
        signal.signal(one, signal.SIG_IGN)
    raise SystemExit(128 + number)


if __name__ == "__main__":
    for ending_signal in ENDING_SIGNALS:
        signal.signal(ending_signal, end_in_order)
    sys.exit(main())
