"""The API on a fresh database, in this process."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from aurea_api import create_app


@pytest.fixture
def client(database_url: str) -> FlaskClient:
    return create_app(database_url).test_client()
