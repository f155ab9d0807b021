"""``python -m fuzz --seconds 60``: coverage-guided fuzzing of the decoder, from a queue's text to COPY's lines.

Atheris sees which lines of our modules an input reaches (msgspec itself is compiled, and stays dark), and begins from
bad batches, bad events and usage as real providers answer. Whatever it makes must be read as events or refused with a
reason. What is not is written to ``--findings``, and ends the programme with a status that is not 0.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import atheris
import msgspec

with atheris.instrument_imports(include=["aurea_celery"]):
    from aurea_celery.events import ModelCall, encode, encode_batch
    from aurea_celery.pricing import PriceBook
    from aurea_celery.storage.bulk import copy_lines
    from aurea_celery.storage.delivered import read_batch
    from aurea_celery.storage.rows import rows_of

from tests.support import golden
from tests.support.events import make_event, make_source
from tests.support.hostile import bad_batches, bad_events, one_batch

BOOK = PriceBook()
LARGEST_BYTES = 16 * 1024
SLOWEST_SECONDS = 5


def read(data: bytes) -> None:
    """What the writer does with a message, as bytes and as text, up to the lines for the database.

    Raises:
        Exception: If the decoder lets one through that is not its own.
    """
    for form in (data, data.decode("utf-8", "surrogateescape")):
        try:
            delivered = read_batch(form).delivered
        except msgspec.DecodeError:
            continue
        for part in delivered:
            for event in part.events:
                list(copy_lines(rows_of(event, BOOK.cost)))


def seeds() -> Iterator[bytes]:
    """Messages to begin from."""
    yield from (text.encode("utf-8", "surrogatepass") for text in bad_batches().values())
    yield from (one_batch(event) for event in bad_events().values())
    for found in (golden.case(name).expected for name in golden.names()):
        if found is None:
            continue
        call = ModelCall(usage=found.usage, model=found.model, provider=found.provider, service_tier=found.service_tier)
        yield encode_batch([(make_source(captured=1), [encode(make_event(calls=(call,)))])])


def main() -> None:
    """Fuzz for some time."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="how long (default: 60)")
    parser.add_argument("--seed", type=int, default=1, help="of the random numbers (default: 1)")
    parser.add_argument("--findings", type=Path, default=Path("fuzz/findings"), help="where findings go")
    options = parser.parse_args()
    options.findings.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(one for one in seeds() if len(one) <= LARGEST_BYTES):
            Path(corpus, f"{number}").write_bytes(seed)
        limits = [f"-max_total_time={options.seconds}", f"-max_len={LARGEST_BYTES}", f"-timeout={SLOWEST_SECONDS}"]
        atheris.Setup(
            [sys.argv[0], *limits, f"-seed={options.seed}", f"-artifact_prefix={options.findings}/", corpus], read
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main()
