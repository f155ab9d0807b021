"""The page on prices: its commands, given one after the other, say what it says."""

from __future__ import annotations

import re
import shlex
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from aurea_celery.cli import aurea
from aurea_celery.clock import to_us
from aurea_celery.events import ModelCall, Usage
from tests.support.databases import connected
from tests.support.published import PAGE
from tests.support.recorded import execution, write

TEXT = PAGE.read_text()
EXAMPLE = re.compile(r"^\$ aurea (?P<command>.+)\n(?P<answer>(?:(?!\$ |```).*\n)*)", re.MULTILINE)


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def without_edition(text: str) -> str:
    """What stays the same when genai-prices has a newer release, and when the list prices age."""
    text = re.sub(r"^List prices: genai-prices .*$", "List prices", text, flags=re.MULTILINE)
    return re.sub(r"genai-prices [\d.]+ (\S+) [0-9a-f]{8}", r"genai-prices \1", text).strip()


def test_the_commands_say_what_the_page_says(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("aurea_celery.storage.reprice.SETTLE_SECONDS", 0)
    (prices,) = blocks("csv")
    (tmp_path / "prices.csv").write_text(prices)
    spent = ModelCall(usage=Usage(input_tokens=10_000, output_tokens=750), model="house-large")
    before_the_next_price = datetime(2026, 11, 24, tzinfo=UTC)
    write(database_url, execution("nightly", "translate", spent, ended_at_us=to_us(before_the_next_price)))
    examples = [example for block in blocks("console") for example in EXAMPLE.finditer(block)]

    assert len(examples) == TEXT.count("\n$ aurea ") > 8
    for example in examples:
        said = CliRunner(env={"DATABASE_URL": database_url}).invoke(aurea, shlex.split(example["command"]))
        assert without_edition(said.output) == without_edition(example["answer"]), example["command"]

    with connected(database_url) as connection:
        for query in blocks("sql"):
            (row,) = connection.execute(sa.text(query)).mappings()
            assert Decimal(row["unit_prices"]["input"]) == Decimal("2.5")
