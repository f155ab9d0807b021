"""Which job a request is about. A job's id may hold any character, so that the path as it was sent decides.

==========================================  =================================
path as sent                                 means
==========================================  =================================
``/metrics/jobs/a``                          the sums of ``a``
``/metrics/jobs/a/details``                  the rows of ``a``
``/metrics/jobs/a%2Fdetails``                the sums of ``a/details``
``/metrics/jobs/a%2Fdetails/details``        the rows of ``a/details``
``/metrics/jobs/a/b``                        the sums of ``a/b``, for convenience
==========================================  =================================
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from werkzeug.routing import BaseConverter


class AnyText(BaseConverter):
    """The rest of a path, slashes and line breaks included."""

    regex = r"[\s\S]+"
    part_isolating = False


class JobPath(NamedTuple):
    """The job a path names, and which part of it is asked for; ``""`` stands for its sums."""

    job_id: str
    part: str


def requested_job(rest: str, environ: Mapping[str, Any], parts: Collection[str]) -> JobPath:
    """Read what follows ``/metrics/jobs/``: ``rest`` as the server decoded it, and the request's WSGI environment.

    >>> requested_job("a/details", {"RAW_URI": "/metrics/jobs/a/details?limit=1"}, ["details"])
    JobPath(job_id='a', part='details')
    >>> requested_job("a/details", {"RAW_URI": "/metrics/jobs/a%2Fdetails"}, ["details"])
    JobPath(job_id='a/details', part='')
    """
    segments = _segments(rest, environ.get("RAW_URI") or environ.get("REQUEST_URI") or "")
    if len(segments) > 1 and segments[-1] and segments[-1] in parts:
        return JobPath("/".join(segments[:-1]), segments[-1])
    return JobPath("/".join(segments), "")


def _segments(rest: str, raw_uri: str) -> list[str]:
    """The last segments of the path as it was sent that make ``rest``, each decoded on its own.

    A proxy or a mounting app may have changed the beginning of the path. Where the end was changed too, or the server
    does not tell what was sent, an encoded slash cannot be told from a plain one.
    """
    path = raw_uri.partition("?")[0]
    parts = [unquote_to_bytes(part.encode("latin-1", "replace")).decode("utf-8", "replace") for part in path.split("/")]
    length = -1
    for start in range(len(parts) - 1, -1, -1):
        length += 1 + len(parts[start])
        if length >= len(rest):
            found = parts[start:]
            return found if "/".join(found) == rest else rest.split("/")
    return rest.split("/")
