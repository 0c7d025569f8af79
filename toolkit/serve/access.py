"""Who may ask: the right host, no foreign page, the token."""

from __future__ import annotations

import hashlib
import hmac
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

from toolkit.serve.settings import Address

OPEN = frozenset({"/", "/health", "/openapi.json"})  # hold nothing of a film and nothing of the model
SAFE = frozenset({"GET", "HEAD"})
BEARER = "Bearer "
OWN_SITE = frozenset({"same-origin", "none"})  # Fetch Metadata, Sec-Fetch-Site


class Access:
    """The rules of one server."""

    def __init__(self, host: Address, token: str | None) -> None:
        self._on_loopback = host.is_loopback
        self._digest = None if token is None else _digest(token)

    def refusal(self, method: str, path: str, headers: Headers) -> HTTPException | None:
        """Why this request is not answered; None when it is."""
        if self._on_loopback and not _names_this_machine(headers.get("host", "")):
            return HTTPException(421, "This server answers to 127.0.0.1 and localhost only; the request names another host.")
        if self._on_loopback and method not in SAFE and not _from_own_page(headers):
            return HTTPException(403, "A page of another site may not send films here.")
        if path not in OPEN and not self._has_token(headers):
            return HTTPException(
                401, "The token is missing or wrong; send it as 'Authorization: Bearer TOKEN'.", {"WWW-Authenticate": "Bearer"}
            )
        return None

    def _has_token(self, headers: Headers) -> bool:
        """Digests are compared, in constant time, so that not even the length can be guessed."""
        given = headers.get("authorization", "")
        return self._digest is None or (given.startswith(BEARER) and hmac.compare_digest(_digest(given.removeprefix(BEARER)), self._digest))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogateescape")).digest()


def _names_this_machine(host: str) -> bool:
    """Against DNS rebinding: a foreign name that was made to point here is refused. The port may be a tunnel's."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return "@" not in host and (name == "localhost" or ip_address(name).is_loopback)
    except ValueError:
        return False


def _from_own_page(headers: Headers) -> bool:
    """True for software, which names no origin, and for the page that was served here. Browsers of 2019 send Origin, newer ones also say
    how it relates to this server, which holds behind a proxy too."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        return site in OWN_SITE
    return origin is None or urlsplit(origin).netloc == headers.get("host", "")
