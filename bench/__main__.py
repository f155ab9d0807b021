"""``python -m bench``: run all benchmarks and write the figures to ``bench/RESULTS.md``."""

from __future__ import annotations

import argparse
import os
import platform
from datetime import UTC, datetime
from pathlib import Path

from bench import api, backlog, budgets, capture, pricing, reprice, sync, tail, writer

RESULTS = Path(__file__).with_name("RESULTS.md")
TEXT = """\
# Benchmarks

Repeat with `make bench`. Every figure is a median with its range (least to greatest) over {rounds} rounds, for
repricing over a third of them; what is compared takes turns within one run, so that a busy machine disturbs both alike.
Only the ratios mean something on another machine.

Last run: {when}, {cores} cores, Python {python}, {system}.

## Capture

{capture}

One forked child runs empty tasks through Celery's own tracer, as a prefork worker's child does: alone, with both
handlers of aurea-celery (two lines written to the outbox on disk for each task), and with
opentelemetry-instrumentation-celery and a batch processor whose exporter does nothing. The figures are what each adds
to Celery alone.

## Budgets

{budgets}

What `task_prerun` does for budgets, as a pool child does it: it looks up the job in the host's copy of the states that
matter, and ten times a second whether that file was renewed. The first two figures are means over many look-ups in a
row, those looks included; the third is what one task of each child waits after a change.

## A broker that is a black hole

{tail}

Two real workers with one slot each share a broker that works; one has the plugin, whose own `aurea_broker_url` is a
port that drops every packet. Measured is how long both handlers of aurea-celery have a task, and the time from the end
of a task's body to the beginning of the next one's, with all {tail_tasks} tasks of a round waiting in the queue: all
that the worker does in between, so that whatever else delays a task shows. "Added" is the difference of both workers,
round by round; below zero it is the machine's own noise.

## Sync delivery

{sync}

As under Capture, once with the event in the outbox when the task ends, and once with the event also at the broker,
confirmed (`aurea_delivery="sync"`). Both brokers run on the same machine and write to its disk; the network's way there
and back comes on top.

## Writer

{writer}

The writer decodes a message of {batch} events, prices them, and commits rows, five rollups and the books. Beside it,
the same rows, made before the clock starts, go into the same table with one COPY and one commit a message: no
decoding, no prices, no rollups, no protection against duplicates. In the second line every event is in a new job, so
that the sums per job are as many as the rows: each message adds 1,000 rows to the rollups of jobs instead of changing
about 240.

## Pricing

{pricing}

What the writer does for each model call, with a list price that it has met before, in time of the processor.
`python -m bench.pricing` measures this alone.

## Repricing

{reprice}

Rows of one call each get another price, in pieces of a thousand rows and one commit each, which move the rollups too.
The writers are processes of their own that write to the same jobs as fast as they can. `python -m bench.reprice`
measures this alone.

## The API under load

{api}

`aurea serve` as it is, in processes of its own. Each client has one connection and a job of its own: it posts, reads
lists, totals and jobs, and looks whether its row is there. The writers write as fast as they can, on the same cores.
`python -m bench.api` measures this alone.
"""
PARTS = {
    "capture": capture,
    "budgets": budgets,
    "tail": tail,
    "sync": sync,
    "writer": writer,
    "pricing": pricing,
    "reprice": reprice,
    "api": api,
}

BACKLOG = "## Backlog\n"
BACKLOG_TEXT = """
Repeat with `make bench ARGS=backlog`, which takes minutes; `--events` says how many. Last run: {when}.

{backlog}

Real processes all the way: one captures with `monitor_task`, all of it waits at a private Valkey, then one `aurea
writer` gets through the first half and two through the second, with Celery, decoding, prices, rollups and books.
COPY is measured before and after, as in the section above.
"""


def main() -> None:
    """Run, print and write down."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("only", nargs="?", choices=["backlog"], help="the one that takes minutes")
    parser.add_argument("--events", type=int, default=1_000_000, help="of the backlog (default: 1,000,000)")
    parser.add_argument("--rounds", type=int, default=15, help="rounds of each benchmark (default: 15)")
    parser.add_argument("--dry", action="store_true", help="print only; leave bench/RESULTS.md as it is")
    options = parser.parse_args()
    before, title, rest = RESULTS.read_text().partition(BACKLOG)
    if options.only == "backlog":
        found = backlog.main(options.events)
        print(found)
        if not options.dry:
            text = BACKLOG_TEXT.format(when=datetime.now(UTC).date(), backlog=found)
            RESULTS.write_text(f"{before.rstrip()}\n\n{BACKLOG}{text}")
        return
    figures = {}
    for name, module in PARTS.items():
        figures[name] = module.main(options.rounds)
        print(figures[name], flush=True)
    if not options.dry:
        RESULTS.write_text(
            TEXT.format(
                **figures,
                rounds=options.rounds,
                when=datetime.now(UTC).date(),
                cores=os.cpu_count(),
                python=platform.python_version(),
                system=platform.system(),
                batch=writer.BATCH_EVENTS,
                tail_tasks=tail.TASKS,
            )
            + (f"\n{title}{rest}" if title else "")
        )
        print(f"written to {RESULTS.relative_to(Path.cwd())}")


if __name__ == "__main__":
    main()
