"""Where the API is for a client behind a proxy, by the ``X-Forwarded-*`` headers of that proxy.

They are used in what describes the API alone, which is never cached: a client that makes them up deceives itself. Who
is let in is decided in :mod:`aurea_api.doors`, where none of them is believed.
"""

from __future__ import annotations

import re

from flask import Request

PREFIX_HEADER, PROTO_HEADER, HOST_HEADER = "X-Forwarded-Prefix", "X-Forwarded-Proto", "X-Forwarded-Host"
PREFIX = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+)+", re.ASCII)
HOST = re.compile(r"(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?", re.ASCII)
MAX_PREFIX_CHARACTERS = 200


def public_path(request: Request, path: str) -> str:
    """Return the path below which the API is, as the client sees it, given the path in the API that was asked for.

    A proxy that removes a prefix from a path says so in ``X-Forwarded-Prefix``; behind several proxies it holds the
    prefix of each, the outermost first. An app around the API may have put it back already.
    """
    root = (request.script_root + request.path).removesuffix(path)
    prefix = "".join(part.strip().rstrip("/") for part in request.headers.get(PREFIX_HEADER, "").split(","))
    if len(prefix) > MAX_PREFIX_CHARACTERS or not PREFIX.fullmatch(prefix) or f"{root}/".startswith(f"{prefix}/"):
        return root
    return prefix + root


def public_origin(request: Request) -> str:
    """Return the scheme and host of the API as the client sees them."""
    proto = _first(request, PROTO_HEADER).lower()
    host = _first(request, HOST_HEADER)
    return (
        f"{proto if proto in ('http', 'https') else request.scheme}://{host if HOST.fullmatch(host) else request.host}"
    )


def _first(request: Request, header: str) -> str:
    """Return what the outermost proxy said."""
    return request.headers.get(header, "").partition(",")[0].strip()
