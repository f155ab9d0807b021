"""What is on its way is for the eyes of its owner only, whatever the umask."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from aurea_celery.delivery.folder import Folder
from aurea_celery.delivery.outbox import Outbox
from tests.support.events import make_event


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    """The process's umask."""
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_umask")
def test_folders_and_files_are_their_owners_alone(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "state" / "outbox" / "destination", batch_events=2, max_bytes=2**20)
    for _ in range(5):
        event = make_event()
        outbox.begin(event)
        outbox.finish(event)
    outbox.close()
    adopted = Folder(outbox.path)
    assert adopted.adopt()
    adopted.release()

    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (outbox.root, outbox.path, *outbox.path.iterdir())}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}
    assert len(modes) > 4
