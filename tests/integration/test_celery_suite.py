"""Celery's own integration tests, a minute's choice of them: they pass with the plugin what they pass without it."""

from __future__ import annotations

import os

import pytest

from tests.compat.source import SourceMissing, celery_source
from tests.compat.suite import SUBSET, compare


@pytest.fixture
def _source() -> None:
    """Celery's source, which the package index has."""
    try:
        celery_source()
    except SourceMissing as error:
        if os.environ.get("CI"):
            pytest.fail(f"{error}; and CI is set")
        pytest.skip(str(error))


@pytest.mark.usefixtures("_source")
def test_celerys_own_tests_pass_what_they_pass_without_the_plugin() -> None:
    comparison, recorded = compare(list(SUBSET))

    assert comparison.holds, comparison.as_text()
    assert recorded.holds, recorded.as_text()
    assert recorded.unsent_folders == 0
