"""Settings: precedence, checks, documentation."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from aurea_celery.errors import ConfigurationError
from aurea_celery.settings import Settings, read_port, require_database_url

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
        require_database_url({})


def test_a_setting_that_celerys_configuration_misspells_is_one_sentence() -> None:
    with pytest.raises(ConfigurationError, match="has no setting called 'batch_evnts'"):
        Settings.load({}, {}, {"aurea_batch_evnts": 5, "task_acks_late": True})


def test_urls_with_passwords_are_not_shown() -> None:
    urls = {"broker_url": "redis://user:secret@host/0", "database_url": "postgresql://user:secret@host/x"}
    settings = Settings.load(urls, {}, {})

    assert settings.broker_url == urls["broker_url"]
    assert "secret" not in f"{settings} {settings!r}"
