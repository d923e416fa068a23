"""Admission and negotiation of a WebSocket before the first frame: the server's side.

Every refusal comes before the upgrade, with an HTTP status and one line of text with the reason
(RFC 6455 section 4.2.2).  The request comes from a socket or from an ASGI server; the rules are the
same, and those for Host, Origin and authentication are those of HTTP.
"""

import binascii
import re
from collections.abc import Sequence

from msgspec import Struct, structs
from wsproto.utilities import generate_accept_token

from mcpcore.http.messages import HttpRequest
from mcpcore.http.origin import OriginPolicy
from mcpcore.http.principals import Authenticate, Principal, Refusal
from mcpcore.spec.revisions import REVISIONS, Revision
from mcpcore.wire.redaction import TOKEN_PREFIX
from mcpcore_transports.http.server.identity import identify
from mcpcore_transports.link import Handshake
from mcpcore_transports.websocket.deflate import Bounds, accept_deflate
from mcpcore_transports.websocket.settings import WebSocketSettings

SUBPROTOCOL = "mcp"
VERSION_PREFIX = "mcp.version."
"""Prefix of a subprotocol by which a client that can send no headers names its revision.

Its access token is in an offer with ``TOKEN_PREFIX``, which is never echoed and never logged.
"""
MCP_V1 = "mcp-v1"

_PROTOCOLS = b"sec-websocket-protocol"
_AUTHORIZATION = b"authorization"
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


class UpgradeRefused(Exception):
    """Refusal of an upgrade; the message is the body of the response."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def refused(status: int, message: str, *headers: tuple[str, str]) -> UpgradeRefused:
    """Make the refusal of an upgrade."""
    return UpgradeRefused(Refusal(status=status, message=message, headers=headers))


class Token(str):
    """Secret string whose repr does not show it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<token>"


class Offer(Struct, frozen=True):
    """Result of reading the offered subprotocols."""

    selected: str | None = None
    revision: str | None = None
    token: Token | None = None


def read_offers(
    names: Sequence[str], revisions: Sequence[Revision] = REVISIONS, *, mcp_v1: bool = False
) -> Offer:
    """Choose among the subprotocols of a client.  Raises UpgradeRefused with 400.

    ``mcp`` is selected if it is offered.  An offer of a revision alone is selected unchanged, since
    browsers insist on a selection; a token is never sent back.  Of several revisions the first one
    that is spoken counts.  No offer at all is equivalent to ``mcp``.
    """
    spoken = [revision.name for revision in revisions]
    asked: list[str] = []
    token: Token | None = None
    others = False
    if len(set(names)) < len(names):
        raise refused(400, "a subprotocol is offered twice")
    for name in names:
        if not _NAME.fullmatch(name):
            raise refused(400, "an offered subprotocol is no token")
        if name.startswith(VERSION_PREFIX):
            asked.append(name.removeprefix(VERSION_PREFIX))
        elif name.startswith(TOKEN_PREFIX):
            if token is not None:
                raise refused(400, "more than one access token is offered")
            token = Token(name.removeprefix(TOKEN_PREFIX))
        else:
            others = True
    if token == "":
        raise refused(400, "the access token offered is empty")
    revision = next((name for name in asked if name in spoken), None)
    if asked and revision is None:
        raise refused(400, f"the offered revision is not spoken here; spoken: {', '.join(spoken)}")
    selected: str | None = None
    if SUBPROTOCOL in names:
        selected = SUBPROTOCOL
    elif mcp_v1 and MCP_V1 in names:
        selected = MCP_V1
    elif revision is not None and not others:
        selected = f"{VERSION_PREFIX}{revision}"
    elif names:
        raise refused(400, f"none of the offered subprotocols is spoken here; offer {SUBPROTOCOL}")
    return Offer(selected, revision, token)


class Agreement(Struct, frozen=True):
    """Agreement with a client that connected by a socket."""

    handshake: Handshake
    headers: list[tuple[bytes, bytes]]
    """Headers of the response with status 101."""
    bounds: Bounds
    """Extension to use."""


def _one(request: HttpRequest, name: bytes, status: int = 400) -> str | None:
    values = [value for key, value in request.headers if key == name]
    if len(values) > 1:
        raise refused(status, f"the header {name.decode()} occurs {len(values)} times")
    return values[0].decode("latin-1").strip(" \t") if values else None


def _listed(request: HttpRequest, name: bytes) -> list[str]:
    joined = b",".join(value for key, value in request.headers if key == name)
    items = [item.strip(" \t") for item in joined.decode("latin-1").split(",")]
    return [item for item in items if item]


class UpgradeRules:
    """Rules for upgrade requests to WebSocket.

    ``authenticate`` is the hook of HTTP: it gets the request with the offered token as its
    ``Authorization``, unless it has one.  ``revisions``: those that are spoken.  Raises ValueError
    for hosts and origins that cannot be read.
    """

    def __init__(
        self,
        settings: WebSocketSettings,
        *,
        authenticate: Authenticate | None = None,
        authenticate_time: float = 10.0,
        revisions: Sequence[Revision] = REVISIONS,
    ) -> None:
        self.settings = settings
        self._policy = OriginPolicy(settings.allowed_hosts, settings.allowed_origins)
        self._authenticate = authenticate
        self._seconds = authenticate_time
        self._revisions = revisions

    def concerns(self, request: HttpRequest) -> bool:
        """Return True if an upgrade request asks for WebSocket at this endpoint."""
        return (
            request.method == "GET"
            and request.path == self.settings.path
            and "websocket" in [item.lower() for item in _listed(request, b"upgrade")]
        )

    def check_place(self, request: HttpRequest) -> None:
        """Check the path, Host and Origin, before all else.  Raises UpgradeRefused."""
        path = self.settings.path
        if request.path != path:
            raise refused(404, f"nothing is served there; the endpoint is {path}")
        host, origin = _one(request, b"host"), _one(request, b"origin", 403)
        problem = self._policy.check(host, origin, request.scheme)
        if problem is not None:
            raise refused(403, problem)

    async def agree(self, request: HttpRequest) -> Agreement:
        """Accept the upgrade request of a socket.  Raises UpgradeRefused."""
        self.check_place(request)
        key = _check_opening(request)
        offer = self.choose(_listed(request, _PROTOCOLS))
        try:
            taken = accept_deflate(
                [value.decode("latin-1") for name, value in request.headers if name == _EXTENSIONS],
                self.settings.deflate,
            )
        except ValueError as error:
            raise refused(400, str(error)) from None
        handshake = await self.admit(request, offer)
        headers = [
            (b"upgrade", b"websocket"),
            (b"connection", b"Upgrade"),
            (b"sec-websocket-accept", generate_accept_token(key)),
        ]
        if offer.selected is not None:
            headers.append((_PROTOCOLS, offer.selected.encode()))
        if taken is None:
            return Agreement(handshake, headers, Bounds())
        headers.append((_EXTENSIONS, taken[0].encode()))
        return Agreement(handshake, headers, taken[1])

    def choose(self, names: Sequence[str]) -> Offer:
        """Choose among the offered subprotocols.  Raises UpgradeRefused."""
        return read_offers(names, self._revisions, mcp_v1=self.settings.mcp_v1)

    async def admit(
        self, request: HttpRequest, offer: Offer, principal: str | None = None
    ) -> Handshake:
        """Authenticate the client, unless ``principal`` is known.  Raises UpgradeRefused."""
        headers = [item for item in request.headers if item[0] != _PROTOCOLS]
        who = None if principal is None else _as_principal(principal)
        if who is None and self._authenticate is not None:
            shown = headers
            if offer.token is not None and all(name != _AUTHORIZATION for name, _ in headers):
                shown = [*headers, (_AUTHORIZATION, b"Bearer " + offer.token.encode("ascii"))]
            asking = structs.replace(request, headers=shown)
            verdict = await identify(self._authenticate, asking, self._seconds)
            if isinstance(verdict, Refusal):
                raise UpgradeRefused(verdict)
            who = verdict
        return Handshake(
            path=request.path,
            headers=tuple(headers),
            peer=request.peer,
            revision=offer.revision,
            principal=who,
        )


_EXTENSIONS = b"sec-websocket-extensions"


def _as_principal(name: str) -> Principal:
    return name if isinstance(name, Principal) else Principal(name)


def _check_opening(request: HttpRequest) -> bytes:
    """Check the rules of RFC 6455 section 4.2.1; return the key.  Raises UpgradeRefused."""
    if request.method != "GET":
        raise refused(405, "a WebSocket is opened with GET", ("Allow", "GET"))
    if _one(request, b"content-length") not in (None, "0") or _one(request, b"transfer-encoding"):
        raise refused(400, "a request for a WebSocket has no body")
    upgrades = [item.lower() for item in _listed(request, b"upgrade")]
    tokens = [item.lower() for item in _listed(request, b"connection")]
    if "websocket" not in upgrades or "upgrade" not in tokens:
        raise refused(426, "this endpoint speaks WebSocket only", ("Upgrade", "websocket"))
    if _one(request, b"sec-websocket-version") != "13":
        raise refused(426, "WebSocket version 13 is needed", ("Sec-WebSocket-Version", "13"))
    key = _one(request, b"sec-websocket-key") or ""
    try:
        nonce = binascii.a2b_base64(key, strict_mode=True)
    except ValueError:
        nonce = b""
    if len(nonce) != 16:
        raise refused(400, "Sec-WebSocket-Key must be 16 bytes in base64")
    return key.encode()
