from __future__ import annotations

from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurea_api.paths import requested_job

PARTS = {"", "details"}
ANY_JOB = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=255)


@pytest.mark.parametrize(
    ("sent", "job_id", "part"),
    [
        ("a", "a", ""),
        ("a/details", "a", "details"),
        ("a%2Fdetails", "a/details", ""),
        ("a%2Fdetails/details", "a/details", "details"),
        ("a/details/details", "a/details", "details"),
        ("details", "details", ""),
        ("details/details", "details", "details"),
        ("a/b", "a/b", ""),
        ("a%2fb/details", "a/b", "details"),
        ("%2F", "/", ""),
        ("..", "..", ""),
        ("%252F", "%2F", ""),
        ("a%3Fb/details", "a?b", "details"),
    ],
)
@pytest.mark.parametrize("before", ["/", "/api%20v1/", "http://host/metrics/jobs/", "/metrics/jobs/details/"])
def test_the_path_as_sent_decides(before: str, sent: str, job_id: str, part: str) -> None:
    environ = {"RAW_URI": f"{before}metrics/jobs/{sent}?limit=1&x=a/details"}

    assert requested_job(unquote(sent), environ, PARTS) == (job_id, part)


@given(ANY_JOB, st.sampled_from(["", "details"]))
def test_every_job_id_can_be_asked_for(job_id: str, part: str) -> None:
    sent = quote(job_id, safe="") + (f"/{part}" if part else "")

    assert requested_job(unquote(sent), {"REQUEST_URI": f"/metrics/jobs/{sent}"}, PARTS) == (job_id, part)


@pytest.mark.parametrize("environ", [{}, {"RAW_URI": "/rewritten"}, {"RAW_URI": ""}])
def test_a_server_that_does_not_tell_what_was_sent_serves_plain_ids(environ: dict[str, str]) -> None:
    assert requested_job("a b/details", environ, PARTS) == ("a b", "details")
    assert requested_job("a/b", environ, PARTS) == ("a/b", "")


def test_a_path_of_nothing_but_slashes_is_read_quickly() -> None:
    slashes = "/" * 100_000

    assert requested_job(slashes, {"RAW_URI": "/metrics/jobs/" + slashes}, PARTS) == (slashes, "")
