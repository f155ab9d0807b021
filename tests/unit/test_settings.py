"""Settings: precedence, checks, documentation."""

from __future__ import annotations

import os
import re
from dataclasses import fields
from pathlib import Path

import pytest

from aurea_celery import settings
from aurea_celery.errors import ConfigurationError
from aurea_celery.settings import Settings, read_port, require_database_url, sources

DOCS = Path(__file__).parents[2] / "docs" / "settings.md"


def test_the_first_that_answers_wins() -> None:
    environ, conf = {"AUREA_BATCH_EVENTS": "20"}, {"aurea_batch_events": 30}

    assert Settings.load({"batch_events": 10}, environ, conf).batch_events == 10
    assert Settings.load({}, environ, conf).batch_events == 20
    assert Settings.load({}, {}, conf).batch_events == 30
    assert Settings.load({}, {}, {}).batch_events == 500


@pytest.mark.parametrize(("word", "value"), [("1", True), ("Yes", True), ("off", False), ("0", False)])
def test_words_for_yes_and_no(word: str, value: bool) -> None:
    assert Settings.load({}, {"AUREA_ENABLED": word}, {}).enabled is value


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"batch_event": 1}, "has no setting called 'batch_event'; it knows: enabled, include"),
        ({"batch_events": "many"}, "aurea_batch_events must be of type int"),
        ({"batch_events": 0}, "aurea_batch_events must be at least 1 events"),
        ({"flush_interval_seconds": "nan"}, "aurea_flush_interval_seconds must be at least"),
        ({"enabled": "perhaps"}, "aurea_enabled must be of type bool"),
    ],
)
def test_a_wrong_setting_is_one_sentence(arguments: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        Settings.load(arguments, {}, {})


def test_every_setting_has_a_sentence_and_is_documented() -> None:
    text = DOCS.read_text()
    for one in fields(Settings):
        assert one.metadata["sentence"].endswith("."), one.name
        assert f"`{one.name}`" in text, f"docs/settings.md does not mention {one.name}"
        assert one.metadata["sentence"] in text, f"docs/settings.md says something else about {one.name}"


@pytest.mark.parametrize("text", ["0", "65536", "-1", "4000.5", "http"])
def test_a_wrong_port_is_one_sentence(text: str) -> None:
    with pytest.raises(ConfigurationError, match="PORT must be a number from 1 to 65535"):
        read_port({"PORT": text})


def test_the_dot_env_file_is_read_and_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("DATABASE_URL=postgresql://from-file/x\nPORT=4321\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("PORT", "1234")

    assert require_database_url() == "postgresql://from-file/x"
    assert read_port() == 1234


def test_a_missing_database_url_is_one_sentence() -> None:
    with pytest.raises(ConfigurationError, match="DATABASE_URL is not set; set it to your database"):
        require_database_url(Settings())


def test_a_setting_that_celerys_configuration_misspells_is_one_sentence() -> None:
    with pytest.raises(ConfigurationError, match="has no setting called 'batch_evnts'"):
        Settings.load({}, {}, {"aurea_batch_evnts": 5, "task_acks_late": True})


def test_urls_with_passwords_are_not_shown() -> None:
    urls = {"broker_url": "redis://user:secret@host/0", "database_url": "postgresql://user:secret@host/x"}
    found = Settings.load(urls, {}, {})

    assert found.broker_url == urls["broker_url"]
    assert "secret" not in f"{found} {found!r}"


DATABASE_PLACES = [
    ("argument", "the argument database_url"),
    ("AUREA_DATABASE_URL", "AUREA_DATABASE_URL in the environment"),
    ("conf", "aurea_database_url in Celery's configuration"),
    (".env AUREA_DATABASE_URL", "AUREA_DATABASE_URL in .env"),
    ("DATABASE_URL", "DATABASE_URL in the environment"),
    (".env DATABASE_URL", "DATABASE_URL in .env"),
]
"""All places that may name the database, the one that wins over all others first."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory of its own, and an environment that names no database."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(settings, "_warned", set())
    for name in ("DATABASE_URL", "AUREA_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.mark.parametrize("first", range(len(DATABASE_PLACES)))
def test_the_specific_name_wins_and_which_was_taken_is_known(
    folder: Path, monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    arguments, conf, lines = {}, {}, []
    for place, _ in DATABASE_PLACES[first:]:
        url = f"postgresql://host/{place.replace(' ', '-')}"
        if place == "argument":
            arguments["database_url"] = url
        elif place == "conf":
            conf["aurea_database_url"] = url
        elif place.startswith(".env "):
            lines.append(f"{place.removeprefix('.env ')}={url}\n")
        else:
            monkeypatch.setenv(place, url)
    (folder / ".env").write_text("".join(lines))

    place, source = DATABASE_PLACES[first]
    assert Settings.read(arguments, conf).database_url == f"postgresql://host/{place.replace(' ', '-')}"
    assert sources(arguments, conf)["database_url"] == source
    assert sources(arguments, conf)["batch_events"] == "default"


def test_celerys_configuration_wins_over_the_file_for_every_setting(folder: Path) -> None:
    (folder / ".env").write_text("AUREA_BATCH_EVENTS=20\nAUREA_RETENTION_DAYS=90\n")

    found = Settings.read({}, {"aurea_batch_events": 30})

    assert (found.batch_events, found.retention_days) == (30, 90)


def test_an_empty_text_is_not_given(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://host/x")
    monkeypatch.setenv("AUREA_DATABASE_URL", "")

    assert Settings.read({"database_url": ""}, {"aurea_database_url": ""}).database_url == "postgresql://host/x"


def test_a_name_that_is_none_of_ours_is_said_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AUREA_BATCH_EVENT", "20")
    (folder / ".env").write_text("AUREA_ZZZ=1\nAUREA_API_TOKENS=x\n")

    for _ in range(2):
        Settings.read()

    assert caplog.messages == [
        "aurea-celery: no setting is called AUREA_BATCH_EVENT; did you mean AUREA_BATCH_EVENTS?",
        "aurea-celery: no setting is called AUREA_ZZZ; docs/settings.md names them all",
    ]


@pytest.mark.parametrize("kind", ["bytes", "folder", "pipe", "forbidden"])
def test_a_file_that_cannot_be_read_harms_nobody(folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    path = folder / ".env"
    if kind == "bytes":
        path.write_bytes(b"AUREA_TAGS=\xff\xfe\0")
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        monkeypatch.setattr(Path, "read_text", _refuse)
        path.touch()

    assert Settings.read().batch_events == 500


def _refuse(*_: object, **__: object) -> str:
    raise PermissionError


def test_every_variable_in_the_source_is_known() -> None:
    root = Path(__file__).parents[2]
    files = [*root.glob("aurea_celery/**/*.py"), *root.glob("api/**/*.py")]
    named = {name for path in files for name in re.findall(r"\bAUREA_[A-Z][A-Z_]+[A-Z]\b", path.read_text())}

    assert named <= settings.OTHER_VARIABLES | {f"AUREA_{one.name.upper()}" for one in fields(Settings)}


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A user who is only a number, as containers have them; the folder for temporary files."""

    def unknown(_uid: int) -> None:
        raise KeyError

    for name in ("HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_a_user_without_a_home_has_an_outbox_of_his_own(homeless: Path) -> None:
    assert Path(Settings.load({}, {}, {}).outbox_dir) == homeless / f"aurea-celery-{os.geteuid()}" / "outbox"


@pytest.mark.usefixtures("homeless")
def test_a_home_that_is_not_there_is_said() -> None:
    with pytest.raises(ConfigurationError, match=r"aurea_outbox_dir begins with ~, and this user has no home"):
        Settings.load({"outbox_dir": "~/outbox"}, {}, {})


def test_a_home_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert Settings.load({"outbox_dir": "~/outbox"}, {}, {}).outbox_dir == "/home/somebody/outbox"
