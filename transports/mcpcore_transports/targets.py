"""Targets that a client can connect to, as plain values."""

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from mcpcore.engine.peer import Peer
from mcpcore.errors import BadTarget
from mcpcore.service import Server, Service
from mcpcore.wire.redaction import Discreet, shown_flaw, shown_names, shown_url
from mcpcore_transports.stream.settings import authority

if TYPE_CHECKING:  # each is imported with the transport that needs it
    from urllib.parse import SplitResult

    from mcpcore_transports.auth.exchange import UpstreamTokens
    from mcpcore_transports.http.client.authorization import Auth
    from mcpcore_transports.http.client.client import RequestHeaders
    from mcpcore_transports.link import App
    from mcpcore_transports.server.settings import RuntimeSettings
    from mcpcore_transports.stream.connection import StreamConnection
else:  # for signatures
    Auth = RequestHeaders = RuntimeSettings = UpstreamTokens = Any


class _UrlTarget(Discreet, frozen=True):
    url: str
    headers: "Mapping[str, str] | RequestHeaders" = field(default_factory=dict)
    auth: "Auth | UpstreamTokens | None" = None

    def __shown__(self) -> Mapping[str, object]:
        return {"url": shown_url(self.url), "headers": shown_names(self.headers)}


class HttpTarget(_UrlTarget, frozen=True):
    """Streamable HTTP endpoint; ``headers`` are sent with every request.

    A function (or coroutine function) as ``headers`` is called with each request and returns them.
    ``auth`` authorizes the requests, unless ``connect`` is given another one; UpstreamTokens are
    for a gateway, which exchanges the tokens of its clients.
    """


class SseTarget(_UrlTarget, frozen=True):
    """Server that speaks HTTP+SSE (2024-11-05) for sure; ``url`` is that of its event stream."""


class WebSocketTarget(_UrlTarget, frozen=True):
    """WebSocket endpoint; ``headers``, or a function that makes them, are for the handshake."""


class StdioTarget(Discreet, frozen=True):
    """Server to be started as a child process, connected by its standard streams.

    ``command``: program and arguments.  ``env``: variables in addition to the few of
    :data:`~mcpcore_transports.stream.settings.SAFE_ENVIRONMENT`, which take precedence over
    those of ``ProcessSettings.env``.  ``cwd``: its working directory.
    """

    command: Sequence[str]
    env: Mapping[str, str] | None = None
    cwd: str | os.PathLike[str] | None = None

    def __shown__(self) -> Mapping[str, object]:
        return {"env": shown_names(self.env)}


class TcpTarget(Struct, frozen=True):
    """Server at a TCP port, one message per line; with ``tls`` over TLS."""

    host: str
    port: int
    tls: bool = False

    @property
    def url(self) -> str:
        """URL that :func:`parse_target` accepts."""
        return f"{'tls' if self.tls else 'tcp'}://{authority(self.host, self.port)}"


class UnixTarget(Struct, frozen=True):
    """Server at a Unix socket, one message per line.  ``path`` is that of the file."""

    path: str

    @property
    def url(self) -> str:
        """URL that :func:`parse_target` accepts."""
        from urllib.parse import quote

        return f"unix://{quote(os.fsencode(os.path.abspath(self.path)))}"


class MemoryTarget(Struct, frozen=True):
    """Server in this process; ``wire``: pass messages as bytes in pieces, as over a socket."""

    server: Service
    settings: "RuntimeSettings | None" = None
    wire: bool = False


class CustomTarget(ABC):
    """Server that is reached by a binding of the application: see ``docs/how-to/embedding.md``."""

    name: str

    @abstractmethod
    def make_link(self, peer: Peer, app: "App") -> "StreamConnection":
        """Make the link of one connection, yet to be run; another may follow when it breaks."""


Target = (
    HttpTarget
    | SseTarget
    | WebSocketTarget
    | StdioTarget
    | TcpTarget
    | UnixTarget
    | MemoryTarget
    | CustomTarget
)


class Replicas(Discreet, frozen=True, kw_only=True):
    """Targets that are one server, each with all that it offers.  Raises ValueError, BadTarget."""

    targets: Sequence[Any]
    """Targets of equal rank, over which requests are balanced."""
    weights: Sequence[float] = ()
    """Weight of each target; empty: all have the same."""
    fallback: Sequence[Any] = ()
    """Targets for requests that none of the others can take, the first one first."""

    def __post_init__(self) -> None:
        if not self.targets:
            raise ValueError("a server needs at least one target")
        if self.weights and len(self.weights) != len(self.targets):
            raise ValueError("there must be a weight for each target, or none")
        if not all(0 < weight < math.inf for weight in self.weights):
            raise ValueError(f"weights must be positive: {self.weights}")
        self.by_name()  # refuses what is no target

    def __shown__(self) -> Mapping[str, object]:
        given = {"targets": self.targets, "fallback": self.fallback}
        return {name: [named(parse_target(each)) for each in some] for name, some in given.items()}

    def by_name(self) -> dict[str, Target]:
        """Return all targets by a name for reports, those of ``fallback`` last."""
        found: dict[str, Target] = {}
        for target in map(parse_target, (*self.targets, *self.fallback)):
            name = named(target)
            found[name if name not in found else f"{name} #{len(found) + 1}"] = target
        return found

    def groups(self) -> list[dict[str, float]]:
        """Return the weights by these names, in groups of which the first is to be used."""
        names = iter(self.by_name())
        weights = self.weights or [1.0] * len(self.targets)
        first = {next(names): weight for weight in weights}
        return [first, *({name: 1.0} for name in names)]


_HTTP_SCHEMES = {"http", "https"}
_SSE_SCHEMES = {"sse+http": "http", "sse+https": "https"}
_WEBSOCKET_SCHEMES = {"ws", "wss"}
_SOCKET_SCHEMES = {"tcp", "tls", "unix"}


def parse_target(
    target: Any, *, headers: "Mapping[str, str] | RequestHeaders | None" = None
) -> Target:
    """Turn a URL, with ``headers``, a command, a Server or a Target into a Target, or BadTarget."""
    if headers and not isinstance(target, str):
        hint = "set those of the target itself" if hasattr(target, "headers") else "it has none"
        kind = "a command" if isinstance(target, list | tuple) else f"a {type(target).__name__}"
        raise BadTarget(f"headers are for URLs of http and ws, not for {kind}: {hint}")
    if isinstance(target, Target):
        return target
    if isinstance(target, Server):
        return MemoryTarget(target)
    if isinstance(target, str):
        return _parse_url(target, headers or {})
    if isinstance(target, Sequence) and target and all(isinstance(part, str) for part in target):
        return StdioTarget(tuple(target))
    if isinstance(target, list | tuple):
        raise BadTarget("a command is a list of strings, the program first")
    raise BadTarget(
        "a target is a URL, a command as a list of strings, a Server or a Target, "
        f"not {type(target).__name__}"
    )


def describe(target: Target) -> str:
    """Return the name of a target for a message."""
    if isinstance(target, StdioTarget):
        import shlex

        return shlex.join(target.command)
    if isinstance(target, MemoryTarget):
        return f"the server {target.server.info.name!r} in this process"
    if isinstance(target, CustomTarget):
        return target.name
    url = shown_url(target.url)
    return f"sse+{url}" if isinstance(target, SseTarget) else url


def named(target: Target) -> str:
    """Return the name of a target for a log: without a command's arguments, which may be secret."""
    if isinstance(target, StdioTarget):
        return os.path.basename(target.command[0]) if target.command else ""
    return describe(target)


def headers_of(lines: Iterable[str]) -> dict[str, str]:
    """Parse headers, lines of ``Name: value``.  Raises :class:`BadTarget`, without the line."""
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise BadTarget("what was given is no header; expected 'Name: value'")
        headers[name.strip()] = value.strip()
    check_headers(headers)
    return headers


def check_headers(headers: Mapping[str, str]) -> None:
    """Raise :class:`BadTarget`, without the value, for a header that cannot be sent or is ours."""
    from mcpcore.http.client.call import own_header  # late: stdio needs no HTTP

    for header in headers.items():
        try:
            own_header(header)
        except ValueError as error:
            raise BadTarget(str(error)) from None


def _parse_url(url: str, headers: "Mapping[str, str] | RequestHeaders") -> Target:
    from urllib.parse import urlsplit

    shown = shown_url(url)
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise BadTarget(f"{shown!r} is not a URL: {shown_flaw(url, error)}") from None
    if parts.scheme in _SOCKET_SCHEMES:
        if headers:
            raise BadTarget(f"headers cannot be sent over {parts.scheme}, which has none")
        return _parse_unix(url) if parts.scheme == "unix" else _parse_tcp(url, parts)
    if parts.scheme not in {*_HTTP_SCHEMES, *_WEBSOCKET_SCHEMES, *_SSE_SCHEMES}:
        hint = " (a command is given as a list of strings)" if not parts.scheme else ""
        raise BadTarget(
            f"{shown!r} is no target: expected a URL that begins with http://, https://, ws://, "
            f"wss://, sse+http://, sse+https://, tcp://, tls:// or unix://{hint}"
        )
    if not host:
        raise BadTarget(f"{shown!r} names no host")
    if headers and isinstance(headers, Mapping):
        check_headers(headers)
    if parts.scheme in _HTTP_SCHEMES:
        return HttpTarget(url, headers)
    if parts.scheme in _SSE_SCHEMES:
        return SseTarget(_SSE_SCHEMES[parts.scheme] + url[len(parts.scheme) :], headers)
    return WebSocketTarget(url, headers)


def _parse_tcp(url: str, parts: "SplitResult") -> TcpTarget:
    shown = shown_url(url)
    form = f"{parts.scheme}://HOST:PORT"
    if not parts.hostname or not parts.port:
        raise BadTarget(f"{shown!r} lacks a host or a port: expected {form}")
    if parts.path.strip("/") or parts.query or parts.fragment or parts.username is not None:
        raise BadTarget(f"{shown!r} says more than a host and a port: expected {form}")
    return TcpTarget(parts.hostname, parts.port, parts.scheme == "tls")


def _parse_unix(url: str) -> UnixTarget:
    # Parsed here: a path may contain characters that have a meaning in other URLs.
    path = url.partition(":")[2].removeprefix("//")
    if not path.startswith("/"):
        raise BadTarget(
            f"{shown_url(url)!r} names no absolute path: expected unix:///path/to/socket, "
            "with three slashes"
        )
    if "?" in path or "#" in path:
        raise BadTarget(f"{shown_url(url)!r} is no path alone: write ? as %3F and # as %23")
    from urllib.parse import unquote_to_bytes

    return UnixTarget(os.fsdecode(unquote_to_bytes(path)))
