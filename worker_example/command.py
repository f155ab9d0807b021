"""The demo's command line: check what was asked for, start everything, run, report, serve, stop."""

from __future__ import annotations

import itertools
import os
import socket
import sys
from pathlib import Path
from typing import Any, NamedTuple

import click
from kombu.exceptions import OperationalError
from rich.console import Console

from aurea_celery.errors import AureaError, ConfigurationError
from aurea_celery.settings import read_port
from worker_example import proof, report, workload
from worker_example.app import BROKER_VARIABLE
from worker_example.broker import check_broker
from worker_example.errors import ExampleError
from worker_example.interrupts import Interrupted, Interrupts
from worker_example.provider import Provider, find_provider
from worker_example.runner import Run, run
from worker_example.services import HOST, Services
from worker_example.trace import read_trace

TASKS, TASKS_OF_REAL_MODEL = 300, 20
SPEED, TRACE_SPEED = 50.0, 1000.0


class Plan(NamedTuple):
    """What to run, how fast the simulated model is, and the real model's provider, if one is used."""

    jobs: list[workload.Job]
    speed: float
    provider: Provider | None
    trace: Path | None

    @property
    def name(self) -> str:
        """What the tasks and their tokens come from."""
        return "trace" if self.trace else "plan"

    @property
    def task_count(self) -> int:
        """How many tasks are published."""
        return sum(len(job.asks) for job in self.jobs)


class Options(NamedTuple):
    """The command line; what is None has a default that depends on the rest."""

    trace: Path | None
    tasks: int | None
    ends: bool
    port: int | None
    seed: int
    speed: float | None


@click.command()
@click.option("--trace", type=click.Path(path_type=Path), help="Replay a CSV: TIMESTAMP,ContextTokens,GeneratedTokens.")
@click.option("--tasks", type=click.IntRange(1, 1_000_000), help=f"How many tasks.  [default: {TASKS}; all of a trace]")
@click.option("--exit", "ends", is_flag=True, help="End after the report instead of serving.")
@click.option("--port", type=click.IntRange(1, 65535), help="The API's port.  [default: PORT, or 4000]")
@click.option("--seed", type=int, default=1, show_default=True, help="Another seed makes other jobs.")
@click.option(
    "--speed",
    type=click.FloatRange(1),
    help=f"How many times faster than life the simulated model is.  [default: {SPEED:g}; {TRACE_SPEED:g} with a trace]",
)
@click.pass_obj
def command(interrupts: Interrupts, /, **options: Any) -> None:
    """Run a small Celery app on this machine, show what it cost, prove that nothing is missing, and serve the API."""
    console = Console(highlight=False)
    try:
        sys.exit(demonstrate(Options(**options), interrupts, console))
    except ExampleError as error:
        _fail(f"{error}", error.status)
    except AureaError as error:
        _fail(f"{error}", 2 if isinstance(error, ConfigurationError) else 1)
    except OperationalError:
        _fail("the broker does not answer any more; look after it and start again", 1)
    except Interrupted as interrupted:
        console.print("Stopped; nothing is left running.")
        sys.exit(interrupted.status)


def demonstrate(options: Options, interrupts: Interrupts, console: Console) -> int:
    """Check, start, run, report, serve, stop; the exit status.

    Raises:
        ExampleError, AureaError: If something is wrong with the options, cannot be started, or ends early.
        Interrupted: If a signal comes before the report.
    """
    plan = make_plan(options)
    port = options.port or read_port()
    check_port(port)
    check_broker(os.environ.get(BROKER_VARIABLE))
    introduce(plan, console)
    simulate = plan.provider is None
    with Services(port=port, speed=plan.speed, simulate=simulate, interrupts=interrupts, console=console) as services:
        agrees = show(plan, services, run(plan.jobs, services, interrupts, console), console)
        if not options.ends:
            serve(services, interrupts, console)
    return 0 if agrees else 1


def make_plan(options: Options) -> Plan:
    """What to run. A trace is always replayed on the simulated model.

    Raises:
        ExampleError: If the trace cannot be used, or a real model is wanted and its SDK is missing.
    """
    if options.trace is not None:
        rows = read_trace(options.trace, options.tasks)
        return Plan(workload.plan_trace(rows), options.speed or TRACE_SPEED, None, options.trace)
    provider = find_provider(os.environ)
    count = options.tasks or (TASKS_OF_REAL_MODEL if provider else TASKS)
    return Plan(workload.plan(count, options.seed), options.speed or SPEED, provider, None)


def check_port(port: int) -> None:
    """Make sure that the API will be able to listen.

    Raises:
        ExampleError: If it is not.
    """
    try:
        socket.create_server((HOST, port)).close()
    except OSError as error:
        raise ExampleError(
            f"cannot listen on {HOST}:{port} ({(error.strerror or 'not allowed').lower()}); choose another port with "
            "--port or PORT"
        ) from None


def introduce(plan: Plan, console: Console) -> None:
    """Say what is going to happen, and what of it is real."""
    source = f"replayed from {plan.trace}" if plan.trace else "summarise, extract, classify, embed"
    tasks = f"{plan.task_count:,} tasks in {len(plan.jobs)} jobs"
    console.print(f"[bold]aurea-celery demo[/]: {tasks} ({source})", soft_wrap=True)
    if plan.provider:
        console.print(
            f"  The language model is REAL: {plan.provider.name}'s, because {plan.provider.key_variable} is set. "
            "This costs money.",
            soft_wrap=True,
        )
    else:
        console.print(
            "  The language model is SIMULATED: it reads and writes no text, costs are what the models it stands for "
            f"would cost,\n  latency is simulated at 1/{plan.speed:,g} of theirs. PostgreSQL, broker, worker, writer "
            "and API are real.",
            soft_wrap=True,
        )
    if not plan.trace:
        console.print("  Some attempts fail on purpose: an overloaded model, an answer of no use.")


def show(plan: Plan, services: Services, result: Run, console: Console) -> bool:
    """Print the report; whether everything agrees."""
    client, prefix = services.client, services.job_prefix
    summaries = [client.job(job["job_id"]) for job in client.jobs(prefix)]
    found = proof.Proof(
        planned=None if plan.provider else proof.planned_totals(plan.jobs),
        ledger=result.ledger,
        books=services.books(),
        said=proof.api_totals(summaries),
        rows=proof.read_rows(row for summary in summaries for row in client.rows(summary["job_id"])),
    )
    for table in report.tables(summaries, prefix):
        console.print(table)
    for line in report.conclusion(found, plan.name):
        console.print(line, soft_wrap=True)
    inside_seconds = float(sum(summary["total_latency_ms"] for summary in summaries)) / 1000
    executions = len(result.ledger.entries)
    console.print(report.pace(executions, result.seconds, inside_seconds, result.readable_seconds), soft_wrap=True)
    return not found.differences()


def serve(services: Services, interrupts: Interrupts, console: Console) -> None:
    """Serve until a signal comes.

    Raises:
        ExampleError: If a process ends by itself.
    """
    console.print(f"\nServing until Ctrl-C: {services.client.url}/metrics/jobs", soft_wrap=True)
    for job in itertools.islice(services.client.jobs(services.job_prefix), 1):
        console.print(f"For example: curl {services.client.job_url(job['job_id'])}", soft_wrap=True)
    try:
        while True:
            interrupts.pause()
            services.check()
    except Interrupted:
        console.print("Stopping.")


def _fail(sentence: str, status: int) -> None:
    click.echo(f"demo: {sentence}", err=True)
    sys.exit(status)
