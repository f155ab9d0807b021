"""What is imported is declared in ``setup.cfg``, and what is declared is imported."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

from tests.compat.lowest import USER_EXTRAS, lowest, requirements
from tests.compat.matrix import BATCHES

ROOT = Path(__file__).parents[2]
PRODUCT = ("aurea_celery", "api")
EXAMPLE = ("worker_example",)
OURS = {"aurea_celery", "aurea_api", "bench", "chaos", "deploy", "fuzz", "tests", "worker_example"}

LOADED_BY_NAME = {"redis"}
"""Kombu's transport for the brokers that the README begins with."""


def imports(*folders: str) -> Iterator[tuple[str, Path]]:
    """The top-level packages of others that the sources in some folders import, and where."""
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
            for name in (module.partition(".")[0] for module in modules):
                if name not in sys.stdlib_module_names and name not in OURS:
                    yield name, path


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(*extras: str) -> set[str]:
    return {name_of(one) for one in requirements(*extras)}


def name_of(requirement: str) -> str:
    return normal(re.split(r"[\[>=;]", requirement)[0])


DISTRIBUTIONS = {module: set(map(normal, names)) for module, names in packages_distributions().items()}


def undeclared(folders: tuple[str, ...], *extras: str) -> set[str]:
    known = declared(*extras)
    return {
        f"{name} in {path.relative_to(ROOT)}"
        for name, path in imports(*folders)
        if not DISTRIBUTIONS.get(name, {normal(name)}) & known
    }


def test_whatever_the_package_imports_is_declared() -> None:
    assert undeclared(PRODUCT, *USER_EXTRAS) == set()


def test_whatever_the_example_imports_is_declared() -> None:
    assert undeclared(EXAMPLE, "demo") == set()


def test_whatever_tests_and_tools_import_is_declared() -> None:
    found = undeclared(("tests", "bench", "chaos", "deploy", "fuzz"), *USER_EXTRAS, "dev")

    assert {one for one in found if normal(one.split()[0]) != name_of(BATCHES)} == set()
    assert f"'{BATCHES}'" in (ROOT / "Makefile").read_text()


def test_nothing_is_declared_for_users_that_is_not_imported() -> None:
    package = set().union(*(DISTRIBUTIONS[name] for name, _ in imports(*PRODUCT)))
    assert declared() - package == LOADED_BY_NAME
    example = set().union(*(DISTRIBUTIONS[name] for name, _ in imports(*EXAMPLE)))
    assert declared(*USER_EXTRAS) - package - example == set()


def test_the_lowest_release_of_whatever_users_install_can_be_installed() -> None:
    assert all("==" in lowest(one) for one in requirements(*USER_EXTRAS))
