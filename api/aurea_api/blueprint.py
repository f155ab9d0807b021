"""The calls of the API, as a blueprint for anyone's Flask app. They are described in ``docs/api.md``."""

from __future__ import annotations

from functools import partial

from flask import Blueprint, Response, abort, request
from flask.blueprints import BlueprintSetupState

from aurea_api.body import read_event
from aurea_api.errors import register_error_handlers
from aurea_api.health import Queue, health
from aurea_api.jobs import AnyText, requested_job
from aurea_api.parameters import read_page
from aurea_api.responses import json_response
from aurea_api.store import Store
from aurea_celery.clock import from_us
from aurea_celery.settings import Settings, read_environment, require_database_url
from aurea_celery.storage import queries

UNKNOWN_JOB = "nothing is known of this job; check its id, or wait until the writer has written its first task"


def create_blueprint(database_url: str | None = None) -> Blueprint:
    """The calls of the API; register it with a ``url_prefix`` if you like.

    It connects on its first request, in each process anew, so that it may be made before a fork.

    Args:
        database_url: The database; ``DATABASE_URL`` if left out.

    Raises:
        ConfigurationError: If no database is named, its URL is not one of PostgreSQL's, or a setting is wrong.
    """
    settings = Settings.load({}, read_environment(), {})
    store = Store(database_url or require_database_url())
    blueprint = Blueprint("aurea", __name__)
    blueprint.record_once(_add_converter)
    blueprint.add_url_rule("/health", "health", partial(health, store, Queue(settings)))
    blueprint.add_url_rule("/metrics/jobs", "list_jobs", partial(list_jobs, store))
    blueprint.add_url_rule("/metrics/jobs/<aurea_any:rest>", "show_job", partial(show_job, store))
    blueprint.add_url_rule("/metrics", "create_metric", partial(create_metric, store), methods=["POST"])
    register_error_handlers(blueprint)
    return blueprint


def list_jobs(store: Store) -> Response:
    """A page of all jobs, most recently updated first."""
    page = read_page(request.args)
    with store.connect() as connection:
        return json_response({"jobs": queries.jobs(connection, page.limit, page.offset)})


def show_job(store: Store, rest: str) -> Response:
    """A job's sums, or a page of its rows."""
    job = requested_job(rest, request.environ)
    if "\0" in job.job_id:
        abort(404, UNKNOWN_JOB)
    return _job_details(store, job.job_id) if job.is_details else _job_summary(store, job.job_id)


def create_metric(store: Store) -> Response:
    """Write one execution that was measured elsewhere."""
    event = read_event(request)
    with store.connect() as connection:
        store.write(event)
        rows = queries.event_rows(connection, event.event_id, from_us(event.ended_at_us))
    return json_response({"message": "Metric created", "metric": rows[0]}, 201)


def _job_summary(store: Store, job_id: str) -> Response:
    with store.connect() as connection:
        summary = queries.job_summary(connection, job_id)
    return json_response(summary) if summary else abort(404, UNKNOWN_JOB)


def _job_details(store: Store, job_id: str) -> Response:
    page = read_page(request.args)
    with store.connect() as connection:
        rows = queries.job_details(connection, job_id, page.limit, page.offset)
        if not rows and not queries.job_exists(connection, job_id):
            abort(404, UNKNOWN_JOB)
    return json_response({"job_id": job_id, "count": len(rows), "metrics": rows})


def _add_converter(state: BlueprintSetupState) -> None:
    state.app.url_map.converters["aurea_any"] = AnyText
