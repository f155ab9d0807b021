"""Installation on an app, whatever the user has it in."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery, current_app
from celery.local import PromiseProxy, Proxy
from django.utils.functional import SimpleLazyObject
from werkzeug.local import Local, LocalProxy

from aurea_celery import Aurea
from aurea_celery.capture import registry
from aurea_celery.testing import recording


def in_a_namespace(app: Celery) -> Any:
    """An app in a namespace of Werkzeug's, as Flask keeps what belongs to a request."""
    local = Local()
    local.app = app
    return local("app")


PROXIES: dict[str, Callable[[Celery], Any]] = {
    "celery.current_app": lambda _: current_app,
    "celery.local.Proxy": lambda app: Proxy(lambda: app),
    "celery.local.PromiseProxy": lambda app: PromiseProxy(lambda: app),
    "werkzeug.local.LocalProxy": lambda app: LocalProxy(lambda: app),
    "werkzeug.local.Local": in_a_namespace,
    "django.utils.functional.SimpleLazyObject": lambda app: SimpleLazyObject(lambda: app),
    "a proxy of a proxy": lambda app: LocalProxy(lambda: Proxy(lambda: app)),
    "no proxy": lambda app: app,
}


@pytest.fixture
def app() -> Celery:
    """The current app, whose tasks run at once."""
    app = Celery("unit", broker="memory://")
    app.task(name="unit.nothing", shared=False)(nothing)
    return app


def nothing() -> None:
    """Do nothing."""


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("name", PROXIES)
def test_a_proxy_is_the_app_that_it_stands_for(app: Celery, name: str, late: bool) -> None:
    if late:
        aurea = Aurea()
        aurea.init_app(PROXIES[name](app))
    else:
        aurea = Aurea(PROXIES[name](app))
    gc.collect()

    assert registry.door_of(app) == aurea.destination
    assert "aurea_celery.write_metrics" in app.tasks
    aurea.prepare_tasks()
    aurea.close()
    assert registry.door_of(app) is None


@pytest.mark.parametrize("name", PROXIES)
def test_so_it_is_for_a_recorder(app: Celery, name: str) -> None:
    with recording(PROXIES[name](app)) as recorder:
        app.tasks["unit.nothing"].apply()

    assert recorder.last.task_name == "unit.nothing"
