"""The HTTP API of aurea-celery: a Flask blueprint for any app, and an app of its own.

::

    app.register_blueprint(create_blueprint("postgresql://user:password@host:5432/name"))
"""

from aurea_api.app import create_app
from aurea_api.blueprint import create_blueprint
from aurea_api.doors import Doors

__all__ = ["Doors", "create_app", "create_blueprint"]
