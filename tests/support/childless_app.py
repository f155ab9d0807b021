"""The user's app in a writer that makes no process in place of one that is gone, as where no more may be started."""

from __future__ import annotations

from billiard.pool import Pool

from tests.support.user_app import app

__all__ = ["app"]

Pool._repopulate_pool = lambda *_: None  # type: ignore[attr-defined]  # its stubs leave it out
