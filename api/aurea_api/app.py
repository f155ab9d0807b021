"""An app of its own, with nothing but the blueprint."""

from __future__ import annotations

from flask import Flask, request
from werkzeug.exceptions import HTTPException

from aurea_api.access_log import log_access
from aurea_api.blueprint import create_blueprint
from aurea_api.doors import Doors
from aurea_api.errors import http_error
from aurea_celery.settings import read_environment


def create_app(database_url: str | None = None) -> Flask:
    """The API as an app; also for ``flask --app aurea_api run`` and any other WSGI server.

    Args:
        database_url: The database; ``DATABASE_URL`` if left out.

    Raises:
        ConfigurationError: If no database is named, or its URL is not one of PostgreSQL's.
    """
    app = Flask("aurea_api", static_folder=None)
    doors = Doors.of_environment(read_environment())
    app.register_blueprint(create_blueprint(database_url, doors=doors))
    app.register_error_handler(HTTPException, http_error)
    app.after_request(lambda response: doors.dress(request, response))  # of addresses that are none, too
    log_access(app)
    return app
