"""Give the example's workers something to do, wherever they run: ``python -m worker_example.send``."""

from __future__ import annotations

import sys

import click
from kombu.exceptions import OperationalError

from worker_example import workload
from worker_example.app import BROKER_VARIABLE, broker_url
from worker_example.broker import check_broker
from worker_example.errors import ExampleError

TASKS = 200


@click.command()
@click.option("--tasks", type=click.IntRange(1, 1_000_000), default=TASKS, show_default=True, help="How many tasks.")
@click.option("--seed", type=int, default=1, show_default=True, help="Another seed makes other jobs.")
def send(tasks: int, seed: int) -> None:
    """Send tasks to the broker at BROKER_URL."""
    jobs = workload.plan(tasks, seed)
    try:
        check_broker(broker_url)
        workload.publish(jobs, "", lambda: None)
    except ExampleError as error:
        _fail(f"{error}", error.status)
    except OperationalError:
        _fail(f"the broker at {BROKER_VARIABLE} does not answer any more; look after it and start again", 1)
    executions = sum(ask.executions for job in jobs for ask in job.asks)
    click.echo(
        f"Sent {tasks:,} tasks in {len(jobs)} jobs; with what is tried again they are {executions:,} executions."
    )


def _fail(sentence: str, status: int) -> None:
    click.echo(f"send: {sentence}", err=True)
    sys.exit(status)


if __name__ == "__main__":
    send(prog_name="python -m worker_example.send")
