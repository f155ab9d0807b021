"""``python -m aurea_api``: serve on loopback, on ``PORT`` or 4000."""

import sys

from aurea_api.server import serve
from aurea_celery.errors import AureaError, ConfigurationError

try:
    serve()
except AureaError as error:
    print(f"aurea: {error}", file=sys.stderr)
    sys.exit(2 if isinstance(error, ConfigurationError) else 1)
