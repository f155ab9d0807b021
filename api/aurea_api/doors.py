"""Who is let in: bearer tokens, or without any the machine itself; which names it answers to, and which pages may ask.

==========================  =======================================================================================
variable                     what it says
==========================  =======================================================================================
``AUREA_API_TOKENS``         who may read and write; see :mod:`aurea_api.tokens`
``AUREA_API_HOSTS``          the names that the API answers to, separated by commas; all, where there are tokens
``AUREA_API_CORS_ORIGINS``   the origins whose pages may ask from a browser, separated by commas; none
==========================  =======================================================================================
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import NamedTuple

from flask import Request, Response, abort

from aurea_api.responses import json_response
from aurea_api.tokens import Scope, Tokens
from aurea_celery.errors import ConfigurationError

LOCAL_NAMES = frozenset({"localhost", "ip6-localhost"})
FORWARDED = re.compile(r"(?:Forwarded|Via|X-Forwarded-.*|X-Real-IP|X-Client-IP|CF-Connecting-IP|True-Client-IP)", re.I)
"""A request with one of these headers came through a proxy, which may have let in anyone."""

AUTHORITY = re.compile(r"(?:\[(?P<ipv6>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(?::[0-9]{0,5})?", re.ASCII)
"""A host in lower case, and its port (RFC 3986, section 3.2), without what the API is never asked by."""

SCOPES: dict[str, Scope] = {"GET": "read", "HEAD": "read", "POST": "write"}
ASK_WHO = {"WWW-Authenticate": 'Bearer realm="aurea"'}
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
CORS_HEADERS = {
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key",
    "Access-Control-Max-Age": "600",
}
READABLE = "Content-Disposition, Idempotent-Replayed, Retry-After, WWW-Authenticate"
"""Headers of answers that a page of another origin may read beside the body."""


class Doors(NamedTuple):
    """Who is let in; ``is_guarded`` if the app around the API asks that by itself."""

    tokens: Tokens
    hosts: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()
    is_guarded: bool = False

    @classmethod
    def of_environment(cls, environ: Mapping[str, str], *, is_guarded: bool = False) -> Doors:
        """The doors that an environment describes.

        Raises:
            ConfigurationError: If a variable is wrong.
        """
        origins = _list(environ, "AUREA_API_CORS_ORIGINS")
        for origin in origins:
            if not origin.startswith(("http://", "https://")) or origin.count("/") != 2:  # noqa: PLR2004 - of the scheme
                raise ConfigurationError(
                    "AUREA_API_CORS_ORIGINS must name origins such as https://grafana.example.com, without a path or *"
                )
        hosts = frozenset(name.strip("[]").lower() for name in _list(environ, "AUREA_API_HOSTS"))
        return cls(Tokens.parse(environ.get("AUREA_API_TOKENS", "")), hosts, origins, is_guarded)

    def check(self, request: Request) -> None:
        """Let a request in.

        Raises:
            werkzeug.exceptions.HTTPException: 400, 401 or 403, if it is not to be.
        """
        if self.hosts and _host(request) not in self.hosts:
            abort(400, "the API does not answer to this host name; name it in AUREA_API_HOSTS")
        if request.method == "OPTIONS" or self.is_guarded:
            return
        if self.tokens:
            self._check_token(request)
        elif not is_local(request):
            abort(403, "without tokens the API answers the machine it runs on alone; set AUREA_API_TOKENS")

    def knows(self, request: Request) -> bool:
        """Whether a request would be let in to read."""
        if self.is_guarded or not self.tokens:
            return self.is_guarded or is_local(request)
        return self.tokens.scope_of(_token(request) or "") is not None

    def dress(self, request: Request, response: Response) -> Response:
        """Add the headers that keep an answer from being misused, and those for pages that may ask."""
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        if self.origins:
            response.vary.add("Origin")
        if request.headers.get("Origin") in self.origins:
            response.headers["Access-Control-Allow-Origin"] = request.headers["Origin"]
            response.headers["Access-Control-Expose-Headers"] = READABLE
            response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
            if request.method == "OPTIONS":
                response.headers.update(CORS_HEADERS)
        return response

    def _check_token(self, request: Request) -> None:
        token = _token(request)
        scope = self.tokens.scope_of(token) if token else None
        if scope is None:
            sentence = "this token is not known" if token else "say who you are: Authorization: Bearer TOKEN"
            abort(_unauthorized(sentence))
        if SCOPES.get(request.method, "write") == "write" and scope != "write":
            abort(403, "this token may read, and not write")


def is_local(request: Request) -> bool:
    """Whether a request was made on this machine, to this machine, by no proxy and no page that pretends to be ours.

    A page from elsewhere can make a browser on this machine ask for it under a name of its own; that name is seen here.
    """
    if any(FORWARDED.fullmatch(name) for name, _ in request.headers):
        return False
    return is_loopback(request.remote_addr or "") and is_loopback(_host(request))


def is_loopback(address: str) -> bool:
    """Whether an address, or the name of one, is this machine itself."""
    if address in LOCAL_NAMES:
        return True
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    # A socket of both families tells 127.0.0.1 as ::ffff:127.0.0.1.
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_loopback


def _host(request: Request) -> str:
    """The name that was asked for, without its port; empty if what was asked for is not a host."""
    host = request.environ.get("HTTP_HOST")
    if host is None:  # HTTP/1.0: there is nothing but the address that we listen on
        return str(request.environ.get("SERVER_NAME") or "")
    found = AUTHORITY.fullmatch(str(host).lower())
    if not found:
        return ""
    if found["ipv6"] is None:
        return found["name"]
    return found["ipv6"] if ":" in found["ipv6"] else ""


def _token(request: Request) -> str | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _unauthorized(sentence: str) -> Response:
    response = json_response({"error": sentence}, 401)
    response.headers.update(ASK_WHO)
    return response


def _list(environ: Mapping[str, str], name: str) -> frozenset[str]:
    return frozenset(part.strip() for part in environ.get(name, "").split(",") if part.strip())
