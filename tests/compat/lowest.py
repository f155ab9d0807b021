"""The unit tests and a pipeline with the lowest releases that ``setup.cfg`` allows: ``python -m tests.compat.lowest``.

Every direct dependency, of the package and of the extras for users, is installed at its lower bound; what those need
in turn, and what only tests need, is the newest that fits. Status 1 if a test fails.
"""

from __future__ import annotations

import argparse
import configparser
import re
import subprocess
import sys
from pathlib import Path

from tests.compat.matrix import BATCHES

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".venv-lowest"
USER_EXTRAS = ("demo", "otel", "parquet")
AT_A_TIME = 2

# What does not go with the lowest OpenTelemetry or click, or has no use here.
LEFT_OUT = (
    *(
        "atheris",
        "check-jsonschema",
        "import-linter",
        "matplotlib",
        "mypy",
        "opentelemetry-instrumentation",
        "ruff",
        "schemathesis",
    ),
    "types-",
)

TESTS = ("tests/unit", "tests/integration/test_pipeline.py", "tests/integration/api/test_prometheus.py")
# Tests of what is left out, of files alone, and of SDKs whose newest releases need a later OpenTelemetry.
OTHERS = (
    "tests/unit/otel/test_instrumented.py",
    "tests/unit/test_compose_file.py",
    "tests/unit/test_fuzz.py",
    "tests/unit/test_typing.py",
    "tests/unit/usage/test_other_sdks.py",
    "tests/unit/usage/test_page.py",
)

_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(\[[\w,]+\])?>=(?P<lowest>[\w.]+)")


def requirements(*extras: str) -> list[str]:
    """Return what the package and some of its extras require, as ``setup.cfg`` has it."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    texts = [config["options"]["install_requires"], *(config["options.extras_require"][extra] for extra in extras)]
    return [line for text in texts for line in text.split("\n") if line]


def lowest(requirement: str) -> str:
    """Return a requirement for the lowest release only.

    >>> lowest("celery[redis]>=5.5")
    'celery==5.5'

    Raises:
        ValueError: If it has no lower bound, or more than that.
    """
    found = _REQUIREMENT.fullmatch(requirement)
    if found is None:
        raise ValueError(f"{requirement!r} in setup.cfg is not of the form name>=release")
    return f"{found['name']}=={found['lowest']}"


def for_tests() -> list[str]:
    """Return what only tests require, without what cannot be installed beside the lowest releases."""
    own = set(requirements(*USER_EXTRAS))
    return [one for one in requirements("dev") if one not in own and not one.startswith(LEFT_OUT)]


def environment() -> str:
    """Return the interpreter of the environment, made or brought up to date."""
    python = str(FOLDER / "bin" / "python")
    if not Path(python).exists():
        subprocess.run([sys.executable, "-m", "venv", str(FOLDER)], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv"], check=True)
    bounds = FOLDER / "lowest.txt"
    bounds.write_text("\n".join(map(lowest, requirements(*USER_EXTRAS))))
    command = [python, "-m", "uv", "pip", "install", "--quiet", "--python", python, "--constraint", str(bounds)]
    subprocess.run([*command, "--editable", f".[{','.join(USER_EXTRAS)}]", *for_tests()], cwd=ROOT, check=True)
    subprocess.run(
        [python, "-m", "uv", "pip", "install", "--quiet", "--python", python, "--no-deps", BATCHES], check=True
    )
    return python


def main() -> int:
    """Run the tests; the exit status is pytest's."""
    parser = argparse.ArgumentParser(prog="python -m tests.compat.lowest", description=(__doc__ or "").split("\n\n")[0])
    _, arguments = parser.parse_known_args()  # all of it is pytest's
    command = [environment(), "-m", "pytest", "--quiet", "-n", str(AT_A_TIME), "--dist", "worksteal"]
    ignored = [f"--ignore={path}" for path in OTHERS]
    return subprocess.run([*command, *ignored, *TESTS, *arguments], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
