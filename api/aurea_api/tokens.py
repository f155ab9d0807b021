"""Bearer tokens: who may read and who may write. Only their hashes are kept.

``AUREA_API_TOKENS`` holds entries separated by commas, ``read:TOKEN`` or ``write:TOKEN``; who may write may read.
``read:sha256:HASH`` is the same without the token itself: ``aurea token`` makes both.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from typing import Literal, NamedTuple, get_args

from aurea_celery.errors import ConfigurationError

Scope = Literal["read", "write"]
HASHED = "sha256:"
LEAST_CHARACTERS = 16
# What a client can put into a header without quoting (RFC 6750, section 2.1).
TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")


class Entry(NamedTuple):
    """A token's hash, and what it is good for."""

    scope: Scope
    digest: bytes


class Tokens:
    """The tokens of an API.

    >>> tokens = Tokens.parse("read:0123456789abcdef")
    >>> tokens.scope_of("0123456789abcdef"), tokens.scope_of("something-else")
    ('read', None)
    """

    def __init__(self, entries: tuple[Entry, ...]) -> None:
        self._entries = entries

    @classmethod
    def parse(cls, text: str) -> Tokens:
        """Read ``AUREA_API_TOKENS``.

        Raises:
            ConfigurationError: If an entry is none; it is told by its number, for it may hold a secret.
        """
        parts = [part.strip() for part in text.split(",") if part.strip()]
        return cls(tuple(_entry(part, number) for number, part in enumerate(parts, 1)))

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._entries)

    def scope_of(self, token: str) -> Scope | None:
        """What a token is good for; takes the same time for each token that is none."""
        digest = _digest(token)
        found: Scope | None = None
        for entry in self._entries:
            if hmac.compare_digest(entry.digest, digest) and found != "write":
                found = entry.scope
        return found


def new_token() -> str:
    """A token that nobody can guess."""
    return secrets.token_urlsafe(32)


def hashed_entry(scope: Scope, token: str) -> str:
    """The entry of a token without the token.

    >>> hashed_entry("read", "0123456789abcdef")[:22]
    'read:sha256:9f9f5111f7'
    """
    return f"{scope}:{HASHED}{_digest(token).hex()}"


def _entry(part: str, number: int) -> Entry:
    scope, _, secret = part.partition(":")
    if scope not in get_args(Scope) or not secret:
        raise ConfigurationError(
            f"entry {number} of AUREA_API_TOKENS must be read:TOKEN or write:TOKEN; make one: aurea token"
        )
    return Entry("write" if scope == "write" else "read", _digest_of(secret, number))


def _digest_of(secret: str, number: int) -> bytes:
    if secret.startswith(HASHED):
        if not re.fullmatch("[0-9a-f]{64}", secret.removeprefix(HASHED)):
            raise ConfigurationError(
                f"entry {number} of AUREA_API_TOKENS must have 64 hexadecimal digits after sha256:"
            )
        return bytes.fromhex(secret.removeprefix(HASHED))
    if len(secret) < LEAST_CHARACTERS or not TOKEN.fullmatch(secret):
        raise ConfigurationError(
            f"the token of entry {number} of AUREA_API_TOKENS must have at least {LEAST_CHARACTERS} letters, digits or"
            " any of -._~+/; make one: aurea token"
        )
    return _digest(secret)


def _digest(token: str) -> bytes:
    # A token of 256 random bits needs no salt and no slow hash: there is nothing to guess from a dictionary.
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
