"""The demo as a stranger runs it: it reconciles, and whatever happens, nothing is left behind."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.support.databases import scalar
from tests.support.processes import clean_environ
from tests.support.servers import free_port, wait_until

REPOSITORY = Path(__file__).resolve().parents[2]
RUN_SECONDS = 150.0
BOOKS = re.compile(r"^captured (\d+)  written (\d+)  rejected (\d+)  pending (\d+)  lost (\d+)$", re.MULTILINE)
API = re.compile(r"^ API +([\d,]+) executions, ([\d,]+) input and ([\d,]+) output tokens$", re.MULTILINE)
KEYS = ("BROKER_URL", "OPENAI_API_KEY", "ANTHROPIC_API_KEY")


class Demo:
    """Runs of the demo with a temporary folder of their own, in a process group as a terminal would make it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._mark = uuid.uuid4().hex
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str, **environ: str) -> None:
        """Start it; its output goes to files."""
        inherited = {name: value for name, value in clean_environ().items() if name not in KEYS}
        with self._file("out").open("wb") as out, self._file("err").open("wb") as err:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "worker_example.demo", "--port", f"{self.port}", *options],
                cwd=REPOSITORY,
                env={**inherited, "TMPDIR": str(self.folder), "DEMO_MARK": self._mark, **environ},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def run(self, *options: str, **environ: str) -> int:
        """Run it to its end; its exit status."""
        self.start(*options, **environ)
        return self.wait()

    def wait(self) -> int:
        """Wait for its end; its exit status."""
        assert self._process is not None
        return self._process.wait(RUN_SECONDS)

    def wait_for(self, text: str) -> None:
        """Wait until it has said something."""
        assert self._process is not None
        process = self._process
        wait_until(lambda: text in self.out or process.poll() is not None, f"the demo saying {text!r}", seconds=90)
        assert text in self.out, self.err

    def signal_group(self, number: signal.Signals) -> None:
        """What a terminal does at Ctrl-C: everybody in the foreground group gets the signal."""
        assert self._process is not None
        os.killpg(self._process.pid, number)

    @property
    def out(self) -> str:
        """Its standard output."""
        return self._file("out").read_text("utf-8")

    @property
    def err(self) -> str:
        """Its standard error."""
        return self._file("err").read_text("utf-8")

    def processes(self) -> dict[int, str]:
        """The command lines of all living processes that come from it, by pid."""
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                    environ = (entry / "environ").read_bytes()
                except OSError:
                    continue
                if command and (self._mark.encode() in environ or str(self.folder) in command):
                    found[int(entry.name)] = command
        return found

    def assert_nothing_is_left(self) -> None:
        """No process, no folder, no port."""
        assert self.processes() == {}
        assert [path.name for path in self.folder.iterdir() if path.is_dir()] == []
        socket.create_server(("127.0.0.1", self.port)).close()

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.log"


@pytest.fixture
def demo() -> Iterator[Demo]:
    """A demo in a short folder (a Unix socket's path has at most 107 bytes); killed if a test leaves it running."""
    folder = Path(tempfile.mkdtemp(prefix="aurea-td-"))
    folder.chmod(0o755)
    demo = Demo(folder)
    yield demo
    for pid in demo.processes():
        os.kill(pid, signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


def books(out: str) -> list[int]:
    found = BOOKS.search(out)
    assert found, out
    return [int(count) for count in found.groups()]


def api_totals(out: str) -> list[int]:
    found = API.search(out)
    assert found, out
    return [int(count.replace(",", "")) for count in found.groups()]


def write_trace(path: Path, rows: list[tuple[int, int]]) -> Path:
    lines = [
        f"2023-11-16 18:{15 + number // 20}:{number % 20:02}.6805900,{context},{generated}\n"
        for number, (context, generated) in enumerate(rows)
    ]
    path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n" + "".join(lines))
    return path


def test_the_default_run_reconciles(demo: Demo) -> None:
    assert demo.run("--tasks", "60", "--exit") == 0, demo.err
    captured, written, *rest = books(demo.out)
    assert captured == written == api_totals(demo.out)[0] >= 60
    assert rest == [0, 0, 0]
    for words in ("SIMULATED", "Per job", "Per task", "Per model", "agrees", "tasks per second", "the last row was"):
        assert words in demo.out
    assert "differs" not in demo.out
    assert demo.out.count("executions ended") <= 1  # into a file the progress bar does not spam
    assert demo.err == ""
    demo.assert_nothing_is_left()


def test_a_trace_is_replayed_to_the_token(demo: Demo, tmp_path: Path) -> None:
    source = random.Random(5)
    rows = [(source.randint(0, 5000), source.randint(0, 800)) for _ in range(70)]
    trace = write_trace(tmp_path / "trace.csv", rows)
    assert demo.run("--trace", str(trace), "--tasks", "50", "--exit") == 0, demo.out
    first = rows[:50]
    expected = [50, sum(context for context, _ in first), sum(generated for _, generated in first)]
    assert api_totals(demo.out) == expected
    assert books(demo.out) == [50, 50, 0, 0, 0]
    assert "2023-11-16 18:17" in demo.out  # a job per minute of the trace
    demo.assert_nothing_is_left()


def refused(demo: Demo, status: int, *words: str) -> None:
    assert demo.out == ""  # nothing was started
    (sentence,) = demo.err.splitlines()
    for word in words:
        assert word in sentence
    assert status == 2
    demo.assert_nothing_is_left()


def test_a_port_in_use(demo: Demo) -> None:
    with socket.create_server(("127.0.0.1", demo.port)):
        status = demo.run("--exit")
    refused(demo, status, f"{demo.port}", "in use", "--port")


def test_the_port_of_the_environment_in_use(demo: Demo) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        environ = {**clean_environ(), "PORT": f"{port}", "TMPDIR": str(demo.folder)}
        command = [sys.executable, "-m", "worker_example.demo", "--exit"]
        ended = subprocess.run(command, cwd=REPOSITORY, env=environ, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert f"{port}" in ended.stderr


def test_a_missing_trace(demo: Demo) -> None:
    refused(demo, demo.run("--trace", "/no/such/file.csv", "--exit"), "/no/such/file.csv", "No such file")


def test_a_bad_row(demo: Demo, tmp_path: Path) -> None:
    trace = write_trace(tmp_path / "trace.csv", [(1, 2), (3, -4)])
    refused(demo, demo.run("--trace", str(trace), "--exit"), str(trace), "line 3", "GeneratedTokens")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["started PostgreSQL", "started a worker"])
def test_a_signal_leaves_nothing(demo: Demo, number: signal.Signals, moment: str) -> None:
    demo.start("--tasks", "2000")
    demo.wait_for(moment)
    demo.signal_group(number) if number == signal.SIGINT else os.kill(min(demo.processes()), number)
    assert demo.wait() == 128 + number
    assert "Stopped" in demo.out
    assert "Traceback" not in demo.out + demo.err
    demo.assert_nothing_is_left()


def test_it_serves_until_it_is_stopped(demo: Demo) -> None:
    demo.start("--tasks", "12")
    demo.wait_for("Serving until Ctrl-C")
    (url,) = re.findall(r"http://\S+/metrics/jobs$", demo.out, re.MULTILINE)
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - http
        jobs = json.load(answer)["jobs"]
    assert sum(job["task_count"] for job in jobs) == books(demo.out)[0]
    demo.signal_group(signal.SIGINT)
    assert demo.wait() == 0, demo.err
    demo.assert_nothing_is_left()


def test_what_does_not_reconcile_is_status_1(demo: Demo) -> None:
    demo.start("--tasks", "60", "--exit")
    demo.wait_for("started a worker")
    intruder = {"job_id": "x", "task_name": "x", "model_used": "x", "token_count": 1, "latency_ms": 1}
    headers = {"Content-Type": "application/json"}
    url = f"http://127.0.0.1:{demo.port}/metrics"
    request = urllib.request.Request(url, json.dumps(intruder).encode(), headers)
    urllib.request.urlopen(request, timeout=10).close()  # noqa: S310 - http
    assert demo.wait() == 1
    assert re.search(r"differs +\d+ executions were captured, but the tasks did \d+", demo.out)
    assert "agrees" not in demo.out
    demo.assert_nothing_is_left()


def test_servers_that_are_given_are_used_and_left_clean(demo: Demo, database_url: str, broker_url: str) -> None:
    for run in (1, 2):
        assert demo.run("--tasks", "15", "--exit", DATABASE_URL=database_url, BROKER_URL=broker_url) == 0, demo.out
        assert scalar(database_url, "SELECT sum(executions) FROM metrics") >= 15 * run  # type: ignore[operator]  # int
    with redis.Redis.from_url(broker_url) as broker:
        assert [key for key in broker.scan_iter() if b"worker_example_" in key] == []
        bindings = broker.smembers("_kombu.binding.worker_example")
        assert [one for one in bindings if b"worker_example_" in one] == []
    demo.assert_nothing_is_left()


def test_a_worker_that_dies_is_named(demo: Demo) -> None:
    demo.start("--tasks", "2000")
    demo.wait_for("started a worker")
    worker = min(pid for pid, command in demo.processes().items() if " worker --concurrency 2" in command)
    os.kill(worker, signal.SIGKILL)
    assert demo.wait() == 1
    assert "the worker ended early, with status -9" in demo.err
    assert "Traceback" not in demo.err
    demo.assert_nothing_is_left()
