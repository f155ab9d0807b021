from __future__ import annotations

from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurea_api.jobs import requested_job

ANY_JOB = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=255)


@pytest.mark.parametrize(
    ("sent", "job_id", "is_details"),
    [
        ("a", "a", False),
        ("a/details", "a", True),
        ("a%2Fdetails", "a/details", False),
        ("a%2Fdetails/details", "a/details", True),
        ("a/details/details", "a/details", True),
        ("details", "details", False),
        ("details/details", "details", True),
        ("a/b", "a/b", False),
        ("a%2fb/details", "a/b", True),
        ("%2F", "/", False),
        ("..", "..", False),
        ("%252F", "%2F", False),
        ("a%3Fb/details", "a?b", True),
    ],
)
@pytest.mark.parametrize("before", ["/", "/api%20v1/", "http://host/metrics/jobs/", "/metrics/jobs/details/"])
def test_the_path_as_sent_decides(before: str, sent: str, job_id: str, is_details: bool) -> None:
    environ = {"RAW_URI": f"{before}metrics/jobs/{sent}?limit=1&x=a/details"}

    assert requested_job(unquote(sent), environ) == (job_id, is_details)


@given(ANY_JOB, st.booleans())
def test_every_job_id_can_be_asked_for(job_id: str, is_details: bool) -> None:
    sent = quote(job_id, safe="") + ("/details" if is_details else "")

    assert requested_job(unquote(sent), {"REQUEST_URI": f"/metrics/jobs/{sent}"}) == (job_id, is_details)


@pytest.mark.parametrize("environ", [{}, {"RAW_URI": "/rewritten"}, {"RAW_URI": ""}])
def test_a_server_that_does_not_tell_what_was_sent_serves_plain_ids(environ: dict[str, str]) -> None:
    assert requested_job("a b/details", environ) == ("a b", True)
    assert requested_job("a/b", environ) == ("a/b", False)


def test_a_path_of_nothing_but_slashes_is_read_quickly() -> None:
    slashes = "/" * 100_000

    assert requested_job(slashes, {"RAW_URI": "/metrics/jobs/" + slashes}) == (slashes, False)
