"""The filters of calls about rows, as query parameters."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from msgspec import Struct

from aurea_api.parameters import must_be
from aurea_celery.events import STATUSES, Status
from aurea_celery.storage.export import Selection

NO_NUL = "^[^\\x00]*$"  # PostgreSQL knows no text with one

Time = Annotated[datetime, must_be("a time with its zone, such as 2026-11-24T09:15:02Z", tz=True)]
Name = Annotated[str, must_be("a text without NUL", pattern=NO_NUL)]
AStatus = Annotated[Status, must_be(f"one of: {', '.join(STATUSES)}")]
Tag = Annotated[str, must_be("NAME:VALUE", pattern="^[^\\x00:]+:[^\\x00]*$")]


class Filters(Struct, frozen=True, kw_only=True):
    """Which rows are asked for: from ``since`` until before ``until``, of any name given for each, with all tags."""

    since: Time | None = None
    until: Time | None = None
    job: list[Name] = []
    task: list[Name] = []
    model: list[Name] = []
    provider: list[Name] = []
    status: list[AStatus] = []
    tag: list[Tag] = []

    def selection(self) -> Selection:
        """The same, as the storage takes it."""
        return Selection(
            since=self.since,
            until=self.until,
            jobs=tuple(self.job),
            tasks=tuple(self.task),
            models=tuple(self.model),
            providers=tuple(self.provider),
            statuses=tuple(self.status),
            tags=tuple((name, value) for name, _, value in (tag.partition(":") for tag in self.tag)),
        )
