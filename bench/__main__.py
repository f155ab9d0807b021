"""``python -m bench``: run the benchmarks and write the figures to ``bench/RESULTS.md``."""

from __future__ import annotations

import argparse
import os
import platform
from datetime import UTC, datetime
from pathlib import Path

from bench import budgets, capture, writer

RESULTS = Path(__file__).with_name("RESULTS.md")
TEXT = """\
# Benchmarks

Repeat with `make bench`. Every figure is a median with its range (least to greatest) over {rounds} rounds; what is
compared takes turns within one run, so that a busy machine disturbs both alike. Only the ratios mean something on
another machine.

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

## Writer

{writer}

The writer decodes a message of {batch} events, prices them, and commits rows, five rollups and the books. Beside it,
the same rows, made before the clock starts, go into the same table with one COPY and one commit a message: no
decoding, no prices, no rollups, no protection against duplicates. In the second line every event is in a new job, so
that the sums per job are as many as the rows: each message adds 1,000 rows to the rollups of jobs instead of changing
about 240.
"""


def main() -> None:
    """Run, print and write down."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="rounds of each benchmark (default: 15)")
    parser.add_argument("--dry", action="store_true", help="print only; leave bench/RESULTS.md as it is")
    options = parser.parse_args()
    figures = {}
    for name, module in (("capture", capture), ("budgets", budgets), ("writer", writer)):
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
            )
        )
        print(f"written to {RESULTS.relative_to(Path.cwd())}")


if __name__ == "__main__":
    main()
