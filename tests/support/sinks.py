"""A sink that keeps what capture hands over."""

from __future__ import annotations

from aurea_celery.testing import Recorder as RecordingSink

__all__ = ["RecordingSink"]
