"""Celery's own integration suite without and with the plugin: ``python -m tests.compat.suite``.

It runs the ``t/integration`` of the installed Celery's source distribution twice, in the same order, each on a private
Valkey as broker and result backend; once with the plugin on every app of every process. Tests whose outcome differs run
once more on both sides. Status 1 if a test passes without the plugin and not with it, if the plugin had a fault of its
own, or if it recorded nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from celery import Celery

from aurea_celery import Aurea
from aurea_celery.delivery.folder import Folder
from aurea_celery.embedded import EmbeddedValkey
from aurea_celery.errors import EmbeddedServerError
from aurea_celery.events import decode_batch
from tests.compat.outcomes import Comparison, Outcomes, differing, read_outcomes
from tests.compat.source import SourceMissing, celery_source

ROOT = Path(__file__).parents[2]
QUEUE = "aurea_metrics"
RUN_SECONDS = 2700.0
TEST_SECONDS = 300
PROGRESS_SECONDS = 60.0
SEND_SECONDS = 20.0

# A minute's choice for every run of the project's tests: tasks, canvases and results.
SUBSET = (
    "t/integration/test_canvas.py::test_link_error",
    "t/integration/test_canvas.py::test_result_set",
    "t/integration/test_canvas.py::test_signature_serialization",
    "t/integration/test_tasks.py::test_class_based_tasks",
    "t/integration/test_tasks.py::test_task_redis_result_backend",
    "t/integration/test_tasks.py::test_task_replacement",
)

# Every Python process of a run says there what the plugin logs, whatever the test does with its logging.
LOG_EVERYWHERE = """\
import logging
handler = logging.FileHandler({path!r}, delay=True)
handler.setFormatter(logging.Formatter("%(process)d %(levelname)s %(message)s"))
logging.getLogger("aurea_celery").addHandler(handler)
"""


class Recorded(NamedTuple):
    """What the plugin did during a run."""

    executions: int
    processes: int
    unsent_folders: int
    warnings: list[str]

    @property
    def faults(self) -> list[str]:
        """The warnings that say that something of ours broke."""
        return [line for line in self.warnings if "internal fault" in line or "Nothing is recorded" in line]

    @property
    def holds(self) -> bool:
        """Whether the plugin worked, and without a fault."""
        return self.executions > 0 and not self.faults

    def plus(self, other: Recorded) -> Recorded:
        """Both runs' together."""
        return Recorded(
            self.executions + other.executions,
            self.processes + other.processes,
            self.unsent_folders + other.unsent_folders,
            self.warnings + other.warnings,
        )

    def as_text(self) -> str:
        """A summary to read."""
        summary = (
            f"executions recorded: {self.executions}, by processes: {self.processes}, faults: {len(self.faults)}, "
            f"outbox folders left: {self.unsent_folders}"
        )
        return "\n".join([summary, *(f"  {line}" for line in self.warnings)])


class Side:
    """The suite, without or with the plugin, on a broker of its own."""

    def __init__(self, folder: Path, tests: list[str], *, plugin: bool) -> None:
        self._folder, self._plugin = folder, plugin
        self._log, self._outbox = folder / "aurea.log", folder / "outbox"
        shutil.copytree(celery_source(), folder / "source")
        (folder / "sitecustomize.py").write_text(LOG_EVERYWHERE.format(path=str(self._log)))
        (folder / "tests.txt").write_text("\n".join(tests))
        self._valkey = EmbeddedValkey(folder)
        with (folder / "pytest.log").open("wb") as log:
            self._process = subprocess.Popen(
                self._command(),
                cwd=folder / "source",
                env=self._environ(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def is_running(self) -> bool:
        """Whether tests are still to come."""
        return self._process.poll() is None

    @property
    def log(self) -> str:
        """What pytest says."""
        return (self._folder / "pytest.log").read_text("utf-8", "replace")

    @property
    def outcomes(self) -> Outcomes:
        """What is known by now."""
        return read_outcomes(self._folder / "outcomes")

    def recorded(self) -> Recorded:
        """What the plugin sent to its own queue, read as the writer would, and what it said in any process."""
        executions, processes = 0, set()
        with Celery(broker=self._valkey.url, set_as_current=False) as app, app.connection_for_read() as connection:
            self._send_what_is_left(app)
            queue = connection.SimpleQueue(QUEUE)
            with contextlib.suppress(queue.Empty):
                while True:
                    message = queue.get_nowait()
                    for one in decode_batch(message.payload[0][0]).sources:
                        executions += len(one.events)
                        processes.add(one.source.source_id)
                    message.ack()
            queue.close()
        unsent = sum(not is_empty(path) for path in self._outbox.glob("*/[!.]*"))
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return Recorded(executions, len(processes), unsent, lines)

    def _send_what_is_left(self, app: Celery) -> None:
        """The suite's worker is not told that it is ready, so that its outbox waits for another process: this one."""
        aurea = Aurea(app, outbox_dir=str(self._outbox), keep_sent_seconds=0, shutdown_flush_seconds=SEND_SECONDS)
        delivery = aurea.delivery()
        assert delivery is not None
        seen: list[Path] | None = None
        while seen != (seen := sorted(self._outbox.glob("*/[!.]*"))):  # it takes over some folders at a time
            delivery.start_shipping()
            aurea.stop()
        aurea.close()

    def close(self) -> None:
        """Stop whatever is left of the run, and its broker."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._valkey.stop()

    def _command(self) -> list[str]:
        command = [sys.executable, "-m", "pytest", "--verbose", "--tb=short", f"--timeout={TEST_SECONDS}"]
        command += ["-p", "no:randomly", "-p", "no:cacheprovider", "-p", "tests.compat.recorder"]
        command += ["-p", "aurea_celery.autoinstall"] if self._plugin else []
        return [*command, "--continue-on-collection-errors", f"@{self._folder / 'tests.txt'}"]

    def _environ(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AUREA_", "PYTEST_"))}
        return {
            **kept,
            "TEST_BROKER": self._valkey.url,
            "TEST_BACKEND": self._valkey.url,
            "REDIS_HOST": "127.0.0.1",
            "REDIS_PORT": str(self._valkey.port),
            "OUTCOMES": str(self._folder / "outcomes"),
            "AUREA_ENABLED": "1",
            "AUREA_OUTBOX_DIR": str(self._outbox),
            "AUREA_KEEP_SENT_SECONDS": "0",  # no writer runs
            "AUREA_AUTOINSTALL": "1" if self._plugin else "0",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",  # some tests call celery by its name
            "PYTHONPATH": f"{self._folder}:{ROOT}",
        }


def is_empty(path: Path) -> bool:
    """Whether an outbox folder whose process is gone holds no event; such as that of an app that ran no task."""
    folder = Folder(path)
    try:
        return folder.adopt() and folder.read(1) is None and not folder.read_open()
    finally:
        folder.release()


def run_both(tests: list[str], *, seconds: float) -> tuple[Outcomes, Outcomes, Recorded]:
    """Run tests without and with the plugin, at the same time: they mostly wait."""
    with tempfile.TemporaryDirectory(prefix="aurea-suite-") as folder, contextlib.ExitStack() as closing:
        sides = []
        for name in ("without", "with"):
            place = Path(folder) / name
            place.mkdir()
            sides.append(Side(place, tests, plugin=name == "with"))
            closing.callback(sides[-1].close)
        without, with_plugin = sides
        until, said_at = time.monotonic() + seconds, time.monotonic()
        while any(side.is_running for side in sides) and time.monotonic() < until:
            time.sleep(0.5)
            if time.monotonic() - said_at > PROGRESS_SECONDS:
                said_at = time.monotonic()
                print(f"  {len(without.outcomes)} tests without, {len(with_plugin.outcomes)} with", flush=True)
        for side in sides:
            if side.is_running:
                print(f"not finished within {seconds:g} s; its last words: {side.log[-500:]}")
        return without.outcomes, with_plugin.outcomes, with_plugin.recorded()


def compare(tests: list[str]) -> tuple[Comparison, Recorded]:
    """Run tests on both sides, and those that differ once more."""
    without, with_plugin, recorded = run_both(tests, seconds=RUN_SECONDS)
    again = differing(without, with_plugin)
    if not again:
        return Comparison(without, with_plugin, {}, {}), recorded
    print(f"  {len(again)} differ; once more", flush=True)
    without_again, with_again, recorded_again = run_both(again, seconds=RUN_SECONDS)
    return Comparison(without, with_plugin, without_again, with_again), recorded.plus(recorded_again)


def main() -> int:
    """Run the suite and say what differs; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.compat.suite", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--subset", action="store_true", help="only the minute's choice that `make test` runs")
    parser.add_argument(
        "tests", nargs="*", help="paths or node ids below the source, such as t/integration/test_tasks.py"
    )
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that both sides are stopped and their folders removed
    names = ("celery", "kombu", "billiard", "redis")
    print("Celery's own integration suite:", *(f"{name} {version(name)}" for name in names), flush=True)
    try:
        comparison, recorded = compare(options.tests or (list(SUBSET) if options.subset else ["t/integration"]))
    except (SourceMissing, EmbeddedServerError) as error:
        print(error, file=sys.stderr)
        return 2
    print(comparison.as_text())
    print(recorded.as_text())
    return 0 if comparison.holds and recorded.holds else 1


if __name__ == "__main__":
    sys.exit(main())
