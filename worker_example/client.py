"""A client of aurea-celery's HTTP API; money and latency are exact decimals."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from worker_example.errors import ExampleError

TIMEOUT_SECONDS = 10.0
PAGE_ROWS = 1000


class Client:
    """Reads from one API server.

    Args:
        url: Such as ``http://127.0.0.1:4000``.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def is_healthy(self) -> bool:
        """Whether it answers, and says that it is well."""
        try:
            return bool(self._get("/health")["status"] == "healthy")
        except ExampleError:
            return False

    def jobs(self, prefix: str) -> Iterator[dict[str, Any]]:
        """The jobs whose id begins so: pages from the most recent one back, until one has none of them."""
        offset = 0
        while ours := [one for one in self._page_of_jobs(offset) if one["job_id"].startswith(prefix)]:
            yield from ours
            offset += PAGE_ROWS

    def job(self, job_id: str) -> dict[str, Any]:
        """The sums of one job."""
        return self._get(_path(job_id))

    def job_url(self, job_id: str) -> str:
        """Where the sums of one job are."""
        return self.url + _path(job_id)

    def rows(self, job_id: str) -> Iterator[dict[str, Any]]:
        """All rows of one job."""
        offset, count = 0, PAGE_ROWS
        while count == PAGE_ROWS:
            page = self._get(f"{_path(job_id)}/details?limit={PAGE_ROWS}&offset={offset}")["metrics"]
            yield from page
            count = len(page)
            offset += count

    def _page_of_jobs(self, offset: int) -> list[dict[str, Any]]:
        jobs: list[dict[str, Any]] = self._get(f"/metrics/jobs?limit={PAGE_ROWS}&offset={offset}")["jobs"]
        return jobs

    def _get(self, path: str) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(self.url + path, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 - our own http URL
                found: dict[str, Any] = json.load(answer, parse_float=Decimal)
        except (OSError, ValueError) as error:
            reason = f"status {error.code}" if isinstance(error, urllib.error.HTTPError) else "no answer"
            raise ExampleError(f"the API at {self.url} did not answer a question ({reason})", status=1) from error
        return found


def _path(job_id: str) -> str:
    return f"/metrics/jobs/{quote(job_id, safe='')}"
