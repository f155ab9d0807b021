"""The deployments of the smoke scenarios.

Over containers they are pytest-celery's: its Redis, its worker node on an image of ours, the writer as a second node of
the same cluster, and a PostgreSQL. Without a Docker engine these are skipped; the same scenarios run over processes.
"""

from __future__ import annotations

import contextlib
import gc
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker  # type: ignore[import-untyped]  # it has no type hints
import pytest
from celery import Celery
from pytest_celery import (  # type: ignore[import-untyped]  # it has no type hints
    CeleryBrokerCluster,
    CeleryTestBroker,
    CeleryTestContainer,
    CeleryTestSetup,
    CeleryTestWorker,
    CeleryWorkerCluster,
    CeleryWorkerContainer,
)
from pytest_docker_tools import build, container, fxtr  # type: ignore[import-untyped]  # it has no type hints

from aurea_celery.embedded import EmbeddedValkey
from aurea_celery.errors import DatabaseUnavailable
from aurea_celery.models import upgrade_database
from tests.smoke.deployments import (
    WORKER_ENVIRON,
    WORKER_OPTIONS,
    ContainerInstallation,
    Containers,
    Deployment,
    LocalProcesses,
)
from tests.support.installation import ROOT, Installation
from tests.support.servers import free_port, wait_until

APP = ["celery", "-A", "tests.support.user_app"]
CONTAINER_SECONDS = 120
BUILD_SECONDS = 900


@pytest.fixture(
    params=[
        "processes",
        pytest.param("containers", marks=[pytest.mark.docker, pytest.mark.timeout(BUILD_SECONDS)]),
    ]
)
def deployment(request: pytest.FixtureRequest) -> Deployment:
    """A running installation: over local processes everywhere, over containers where there is a Docker engine."""
    found: Deployment = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def processes(tmp_path: Path, database_url: str) -> Iterator[LocalProcesses]:
    """Worker and writer as processes, on a broker that the test may restart."""
    broker = EmbeddedValkey(tmp_path)
    with Installation(tmp_path, broker.url, database_url) as installation:
        yield LocalProcesses(installation, broker)
    broker.stop()


@pytest.fixture
def containers(
    tmp_path: Path, celery_setup: CeleryTestSetup, celery_broker: CeleryTestBroker, postgres: PostgresContainer
) -> Iterator[Containers]:
    """Worker, writer, broker and database as containers."""
    assert celery_setup.ready()
    host, port = celery_broker.container.get_addr("6379/tcp")
    broker_url = f"redis://{host}:{port}/0"
    with ContainerInstallation(tmp_path, broker_url, postgres.host_url, celery_setup.worker) as installation:
        yield Containers(installation, celery_setup)
        for node in celery_setup.worker_cluster:
            print(f"--- {node.name()}\n{node.logs()[-6000:]}")  # pytest shows it when the test fails


@pytest.fixture(scope="session")
def docker_client() -> Iterator[docker.DockerClient]:
    """The engine that pytest-celery's fixtures use."""
    client = _connect_to_docker()
    if client is None:
        pytest.skip("no Docker engine answers on this machine; the same scenario runs over local processes")
    yield client
    client.close()


def _connect_to_docker() -> docker.DockerClient | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves the socket open on which nobody answered
        with contextlib.suppress(docker.errors.DockerException):
            return docker.from_env()
        gc.collect()
    return None


class PostgresContainer(CeleryTestContainer):  # type: ignore[misc]  # the base class has no type hints
    """PostgreSQL."""

    @property
    def ready_prompt(self) -> str:
        """What it says when it is up; it listens by then."""
        return "database system is ready to accept connections"

    @property
    def url(self) -> str:
        """Its address for other containers."""
        return f"postgresql://aurea:aurea@{self.attrs['Config']['Hostname']}:5432/aurea"

    @property
    def host_url(self) -> str:
        """Its address for the test."""
        host, port = self.get_addr("5432/tcp")
        return f"postgresql://aurea:aurea@{host}:{port}/aurea"


postgres_container = container(
    image="postgres:17-alpine",
    environment={"POSTGRES_USER": "aurea", "POSTGRES_PASSWORD": "aurea", "POSTGRES_DB": "aurea"},
    ports={"5432/tcp": None},
    network="{default_pytest_celery_network.name}",
    wrapper_class=PostgresContainer,
    timeout=CONTAINER_SECONDS,
)


@pytest.fixture
def postgres(postgres_container: PostgresContainer) -> PostgresContainer:
    """PostgreSQL with all tables."""
    wait_until(lambda: _is_migrated(postgres_container.host_url), "PostgreSQL answering")
    return postgres_container


def _is_migrated(url: str) -> bool:
    try:
        upgrade_database(url)
    except DatabaseUnavailable:
        return False
    return True


@pytest.fixture
def celery_broker(celery_redis_broker: CeleryTestBroker) -> CeleryTestBroker:
    """Redis only, instead of each broker that pytest-celery knows."""
    return celery_redis_broker


@pytest.fixture
def default_redis_broker_image() -> str:
    """A release that stays what it is."""
    return "redis:7-alpine"


@pytest.fixture
def default_redis_broker_command() -> list[str]:
    """Keep the data over a restart, which pytest-celery's own command does not."""
    return ["redis-server", "--appendonly", "yes", "--protected-mode", "no"]


@pytest.fixture
def default_redis_broker_ports() -> dict[str, int]:
    """One port on the host, also after a restart."""
    return {"6379/tcp": free_port()}


@pytest.fixture
def celery_backend_cluster() -> None:
    """No result backend."""


aurea_image = build(path=str(ROOT), dockerfile="tests/smoke/Dockerfile", tag="aurea-celery/smoke:latest")


@pytest.fixture
def default_worker_env(celery_broker_cluster: CeleryBrokerCluster, postgres: PostgresContainer) -> dict[str, str]:
    """The environment of worker and writer."""
    return {
        "BROKER_URL": celery_broker_cluster.config()["urls"][0],
        "DATABASE_URL": postgres.url,
        "AUREA_FLUSH_INTERVAL_SECONDS": "0.1",
        "AUREA_WRITER_VISIBILITY_TIMEOUT_SECONDS": "3",
        **WORKER_ENVIRON,
    }


def _node(*command: str) -> Any:
    """A container of our image, as a fixture."""
    return container(
        image="{aurea_image.id}",
        environment=fxtr("default_worker_env"),
        network="{default_pytest_celery_network.name}",
        wrapper_class=CeleryWorkerContainer,
        timeout=CONTAINER_SECONDS,
        command=[*APP, *command],
    )


default_worker_container = _node("worker", *WORKER_OPTIONS)
writer_container = _node("aurea", "writer")


@pytest.fixture
def celery_worker(celery_setup_worker: CeleryTestWorker) -> CeleryTestWorker:
    """The user's worker."""
    return celery_setup_worker


@pytest.fixture
def writer(writer_container: CeleryWorkerContainer, celery_setup_app: Celery) -> Iterator[CeleryTestWorker]:
    """Our writer, a node like any other."""
    node = CeleryTestWorker(writer_container, app=celery_setup_app)
    yield node
    node.teardown()


@pytest.fixture
def celery_worker_cluster(celery_worker: CeleryTestWorker, writer: CeleryTestWorker) -> Iterator[CeleryWorkerCluster]:
    """The user's worker first, then our writer."""
    cluster = CeleryWorkerCluster(celery_worker, writer)
    yield cluster
    cluster.teardown()
