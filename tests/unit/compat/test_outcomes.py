"""What counts as broken by the plugin, and what the recorder's lines mean."""

from __future__ import annotations

import json
from pathlib import Path

from tests.compat.matrix import Row, table
from tests.compat.outcomes import Comparison, Outcome, Outcomes, count, read_outcomes


def outcomes(**words: str) -> Outcomes:
    return {test: Outcome(word, f"why {test}") for test, word in words.items()}


def written(folder: Path, *lines: tuple[str, str]) -> Outcomes:
    path = folder / "outcomes"
    path.write_text("".join(json.dumps({"test": test, "outcome": word, "reason": ""}) + "\n" for test, word in lines))
    return read_outcomes(path)


def test_of_several_reports_the_worst_counts(tmp_path: Path) -> None:
    found = written(tmp_path, ("a", "passed"), ("a", "failed"), ("b", "passed"), ("b", "passed"), ("c", "skipped"))
    assert {test: outcome.word for test, outcome in found.items()} == {"a": "failed", "b": "passed", "c": "skipped"}
    assert count(found) == "1 passed, 1 failed, 1 skipped"


def test_a_rerun_test_counts_as_it_ended(tmp_path: Path) -> None:
    found = written(tmp_path, ("a", "rerun"), ("a", "passed"), ("b", "rerun"), ("b", "failed"))
    assert {test: outcome.word for test, outcome in found.items()} == {"a": "passed", "b": "failed"}


def test_a_run_that_recorded_nothing_has_no_outcomes(tmp_path: Path) -> None:
    assert read_outcomes(tmp_path / "outcomes") == {}
    assert not Comparison({}, {}, {}, {}).holds


def test_only_what_differs_twice_is_broken() -> None:
    comparison = Comparison(
        without=outcomes(
            fine="passed", broken="passed", flaky="passed", hopeless="failed", lucky="failed", off="skipped"
        ),
        with_plugin=outcomes(
            fine="passed", broken="failed", flaky="failed", hopeless="failed", lucky="passed", off="skipped"
        ),
        without_again=outcomes(broken="passed", flaky="passed", lucky="passed"),
        with_plugin_again=outcomes(broken="failed", flaky="passed", lucky="passed"),
    )
    assert comparison.broken == ["broken"]
    assert comparison.unsteady == ["flaky", "lucky"]
    assert not comparison.holds
    text = comparison.as_text()
    assert (
        "BROKEN by the plugin: broken (passed without, failed with; then passed without, failed with) why broken"
        in text
    )
    assert "failed in both (1):\n  hopeless: why hopeless" in text
    assert "skipped in both (1):\n  1 x why off" in text


def test_a_test_that_does_not_run_with_the_plugin_is_broken() -> None:
    assert Comparison(outcomes(a="passed"), {}, outcomes(a="passed"), {}).broken == ["a"]


def test_alike_is_well() -> None:
    alike = outcomes(a="passed", b="failed")
    assert Comparison(alike, alike, {}, {}).holds


def test_the_table_says_which_packages_go_together() -> None:
    row = Row("5.5", "celery 5.5.3 kombu 5.5.4", passed=3, failed=1, skipped=2, seconds=61.4, holds=False)
    assert table([row]) == "FAIL Celery 5.5: 3 passed, 1 failed, 2 skipped in 61 s (celery 5.5.3 kombu 5.5.4)"
