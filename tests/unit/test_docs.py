"""The documentation says what is there."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from aurea_celery.cli import aurea
from tests.support.endings import ENDINGS

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("bench/*.md")])


def source_text() -> str:
    """All our source, with strings that go over several lines put together."""
    files = [*ROOT.glob("aurea_celery/**/*.py"), *ROOT.glob("api/**/*.py")]
    text = "\n".join(file.read_text() for file in files)
    return re.sub(r'"\s*\n\s*f?"', "", text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
    for target in re.findall(r"`(tests/[\w/.]+|bench/[\w/.]+|docs/[\w/.]+)`", page.read_text()):
        assert (ROOT / target).exists(), f"{page.name} names {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_examples_are_python(page: Path) -> None:
    for example in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        lines = example.splitlines()
        indent = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
        compile("\n".join(line[indent:] for line in lines), page.name, "exec")


def test_every_documented_log_line_is_said() -> None:
    source = source_text()
    table = (ROOT / "docs" / "operations.md").read_text().split("## What a log line means")[1].split("##")[0]
    fragments = [part for line in re.findall(r"^\| `(.+?)` \|", table, re.MULTILINE) for part in line.split("...")]
    assert len(fragments) > 10
    for fragment in fragments:
        words = fragment.replace("(", "").replace(")", "").strip()
        assert words in source or words.replace("aurea_metrics", "%s") in source, f"nobody says {words!r}"


def test_every_command_is_documented() -> None:
    text = "\n".join(page.read_text() for page in PAGES)
    assert isinstance(aurea, click.Group)
    for name, command in aurea.commands.items():
        for path in [f"{name} {inner}" for inner in command.commands] if isinstance(command, click.Group) else [name]:
            assert f"aurea {path}" in text, f"`aurea {path}` is not documented"


def test_decisions_are_numbered() -> None:
    pages = sorted(path for path in (ROOT / "docs" / "decisions").glob("0*.md"))
    for number, page in enumerate(pages, start=1):
        assert page.name.startswith(f"{number:04}-")
        assert page.read_text().startswith(f"# {number}. ")


def test_every_ending_is_documented() -> None:
    page = (ROOT / "docs" / "endings.md").read_text()
    for ending in ENDINGS:
        words = ending.name.split(", ")[0].removesuffix(" in C")
        assert words in page, f"docs/endings.md does not say what {ending.name!r} leaves"
        for row in ending.rows:
            assert f"`{row.status}`" in page
            assert row.error is None or row.error in ("Refused",) or f"`{row.error}`" in page, row.error
