"""The rules by which Grafana expands queries; expected values are what Grafana's own tests and pages say."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.grafana.expand import Range, UnknownMacro, expand

HOUR = Range(datetime(2018, 4, 12, 18, 0, tzinfo=UTC), datetime(2018, 4, 12, 18, 5, tzinfo=UTC), "5m")


@pytest.mark.parametrize(
    ("written", "expanded"),
    [
        ("WHERE $__timeFilter(at)", "WHERE at BETWEEN '2018-04-12T18:00:00Z' AND '2018-04-12T18:05:00Z'"),
        ("$__timeFrom()", "'2018-04-12T18:00:00Z'"),
        ("$__timeTo()", "'2018-04-12T18:05:00Z'"),
        ("GROUP BY $__timeGroup(at, 5m)", "GROUP BY floor(extract(epoch from at)/300)*300"),
        ("$__timeGroupAlias(at, $__interval, 0)", 'floor(extract(epoch from at)/300)*300 AS "time"'),
        ("$__timeGroup(at, 1h), x", 'floor(extract(epoch from at)/3600)*3600 AS "time", x'),
        ("$__unixEpochFrom()", "1523556000"),
        ("$__unixEpochTo()", "1523556300"),
        ("${job:sqlstring}", "'__all__'"),
        ("${task:sqlstring}", "'a','O''Brien','say \\\"no\\\"','$1','100%','\\'"),
    ],
)
def test_what_grafana_makes_of_it(written: str, expanded: str) -> None:
    chosen = {"task": ["a", "O'Brien", 'say "no"', "$1", "100%", "\\"]}
    assert expand(written, HOUR, chosen) == expanded


def test_what_looks_like_a_macro_and_is_none_is_refused() -> None:
    with pytest.raises(UnknownMacro, match="unknown macro '__timefilter'"):
        expand("$__timefilter(at)", HOUR)


@given(st.text(st.characters(exclude_characters="$\0")))
def test_a_value_stays_one_literal(value: str) -> None:
    literal = expand("${job:sqlstring}", HOUR, {"job": [value]})
    assert literal[1:-1].replace("''", "'").replace('\\"', '"') == value
    assert literal[0] == literal[-1] == "'"
    assert literal[1:-1].replace("''", "").count("'") == 0
