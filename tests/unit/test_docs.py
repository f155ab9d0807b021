"""The documentation says what is there."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from aurea_celery.cli import aurea
from tests.support.endings import ENDINGS, NOT_TO_BE_KNOWN

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


COMMAND = re.compile(r"(?<![\w./:@-])aurea ([a-z][\w-]*)(?: ([a-z][\w-]*))?([^`\n\"'();]*)")
OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*")


def commands_of(group: click.Group, path: str = "") -> dict[str, click.Command]:
    """All commands, by what stands after ``aurea``."""
    found: dict[str, click.Command] = {}
    for name, command in group.commands.items():
        inner = commands_of(command, f"{path}{name} ") if isinstance(command, click.Group) else {path + name: command}
        found |= inner
    return found


def options_of(command: click.Command) -> set[str]:
    return {name for option in command.params for name in option.opts if name.startswith("--")}


COMMANDS = commands_of(aurea)
GROUPS = {path.split()[0] for path in COMMANDS if " " in path}


def wrong_commands(text: str) -> set[str]:
    """Commands and options that a text names, and that do not exist."""
    wrong = set()
    for found in COMMAND.finditer(text):
        first, second, rest = found.groups()
        path = f"{first} {second}" if f"{first} {second}" in COMMANDS else first
        is_group = first in GROUPS and second is None
        if path not in COMMANDS and not is_group and first != "in":  # "in": a variable of that name in a loop
            wrong.add(found[0])
        elif not is_group and path in COMMANDS:
            wrong |= {f"aurea {path} {one}" for one in OPTION.findall(rest) if one not in options_of(COMMANDS[path])}
    return wrong


TEXTS = [*PAGES, *(ROOT / name for name in ("docker-compose.yml", ".env.example"))]
TEXTS += [
    file for folder in ("aurea_celery", "api", "worker_example", "deploy") for file in ROOT.glob(f"{folder}/**/*.py")
]
TEXTS += [*ROOT.glob("api/**/*.html"), *ROOT.glob("deploy/**/*.yaml"), ROOT / "grafana-dashboard.json"]


def test_every_command_that_is_named_exists() -> None:
    wrong = {}
    for file in TEXTS:
        text = file.read_text()
        if file.suffix == ".py":
            text = re.sub(r'"\s*\n\s*f?"', "", text)  # strings that go over several lines
        wrong[file.name] = wrong_commands(text)

    assert {name: commands for name, commands in wrong.items() if commands} == {}


@pytest.mark.parametrize(
    "text", ["`aurea reconcile` shows", "run: aurea db mend", "aurea check --loud", "aurea serve --tag"]
)
def test_a_command_that_does_not_exist_is_found(text: str) -> None:
    assert wrong_commands(text)


def test_every_command_and_option_is_documented() -> None:
    sections = {}
    for section in (ROOT / "docs" / "commands.md").read_text().split("\n## ")[1:]:
        title, _, body = section.partition("\n")
        path = title.strip("`").removeprefix("aurea ")
        sections[" ".join(word for word in path.split() if not word.isupper())] = set(OPTION.findall(body))

    missing = {path: options_of(command) - sections.get(path, set()) for path, command in COMMANDS.items()}
    assert sections.keys() == COMMANDS.keys()
    assert {path: options for path, options in missing.items() if options} == {}
    named = {path: options - options_of(COMMANDS[path]) for path, options in sections.items()}
    assert {path: options for path, options in named.items() if options} == {}


def test_decisions_are_numbered() -> None:
    pages = sorted(path for path in (ROOT / "docs" / "decisions").glob("0*.md"))
    for number, page in enumerate(pages, start=1):
        assert page.name.startswith(f"{number:04}-")
        assert page.read_text().startswith(f"# {number}. ")


def test_every_ending_is_documented() -> None:
    page = (ROOT / "docs" / "endings.md").read_text()
    section = page.split("## What nobody can know")[1].split("##")[0].lower()
    for words in NOT_TO_BE_KNOWN:
        assert words in section, f"docs/endings.md does not say that nobody knows {words}"
    for ending in ENDINGS:
        words = ending.name.split(", ")[0].removesuffix(" in C")
        assert words in page, f"docs/endings.md does not say what {ending.name!r} leaves"
        for row in ending.rows:
            assert f"`{row.status}`" in page
            assert row.error is None or row.error in ("Refused",) or f"`{row.error}`" in page, row.error
