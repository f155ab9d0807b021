"""An app of its own, with nothing but the blueprint."""

from __future__ import annotations

from flask import Flask
from werkzeug.exceptions import HTTPException

from aurea_api.blueprint import create_blueprint
from aurea_api.errors import http_error


def create_app(database_url: str | None = None) -> Flask:
    """The API as an app; also for ``flask --app aurea_api run`` and any other WSGI server.

    Args:
        database_url: The database; ``DATABASE_URL`` if left out.

    Raises:
        ConfigurationError: If no database is named, or its URL is not one of PostgreSQL's.
    """
    app = Flask("aurea_api", static_folder=None)
    app.register_blueprint(create_blueprint(database_url))
    app.register_error_handler(HTTPException, http_error)
    return app
