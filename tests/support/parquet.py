"""Reading Parquet without a thread that stays: other tests fork, or send signals to their own process."""

from __future__ import annotations

import io
from typing import Any

import pyarrow.parquet as pq


def read_parquet(data: bytes) -> list[dict[str, Any]]:
    """The rows of a file, each by column."""
    rows: list[dict[str, Any]] = pq.ParquetFile(io.BytesIO(data), pre_buffer=False).read(use_threads=False).to_pylist()
    return rows
