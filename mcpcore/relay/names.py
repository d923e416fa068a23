"""Names of tools, prompts and resources of several servers, told apart by the server's name.

Outward is the direction to the client, inward the one to the server.
"""

import re
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import partial

from msgspec import Raw, Struct
from msgspec.json import Decoder, Encoder

from mcpcore.relay.rewriting import Path, on_text, path, rewrite


class Naming(Enum):
    """Ways to name what several servers offer."""

    ALWAYS = "always"
    """Every name begins with that of its server."""
    ON_CONFLICT = "on conflict"
    """Only a name that another server has already does."""
    NEVER = "never"
    """None does; what has a name of another server is left out and reported."""


class NameKind(Enum):
    """Kinds of names, each a namespace of its own."""

    TOOL = "tool"
    PROMPT = "prompt"
    URI = "resource"


class NameConflict(Struct, frozen=True):
    """Report that a server's item is left out, as its name belongs to another server's."""

    kind: NameKind
    name: str
    server: str


_SERVER_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,31}")
"""Names of servers: valid in tool names and in URI schemes (RFC 3986 section 3.1)."""
_LONGEST = 64
"""Characters of a tool name that every revision and the official suite accept."""
_DIGEST = 8

_T, _P, _U = NameKind.TOOL, NameKind.PROMPT, NameKind.URI
IN_RESULTS: Mapping[str, tuple[tuple[Path, NameKind], ...]] = {
    "tools/list": ((path("tools/*/name"), _T), (path("tools/*/_meta/ui/resourceUri"), _U)),
    "prompts/list": ((path("prompts/*/name"), _P),),
    "resources/list": ((path("resources/*/uri"), _U),),
    "resources/templates/list": ((path("resourceTemplates/*/uriTemplate"), _U),),
    "resources/read": ((path("contents/*/uri"), _U),),
    "tools/call": (
        (path("content/*/?resource_link/uri"), _U),
        (path("content/*/?resource/resource/uri"), _U),
        (path("_meta/ui/resourceUri"), _U),
    ),
    "prompts/get": (
        (path("messages/*/content/?resource_link/uri"), _U),
        (path("messages/*/content/?resource/resource/uri"), _U),
    ),
    "notifications/resources/updated": ((path("uri"), _U),),
}
"""Places of names in results and notifications of a server, by method."""
IN_ERRORS: Mapping[str, Path] = {"resources/read": path("uri")}
"""Places of URIs in the data of errors, by method."""
IN_PARAMS: Mapping[str, tuple[tuple[Path, NameKind], ...]] = {
    "tools/call": ((path("name"), _T),),
    "prompts/get": ((path("name"), _P),),
    "resources/read": ((path("uri"), _U),),
    "resources/subscribe": ((path("uri"), _U),),
    "resources/unsubscribe": ((path("uri"), _U),),
    "completion/complete": ((path("ref/name"), _P), (path("ref/uri"), _U)),
}
"""Places of names in params of a client; the first one there tells the server."""

_members_of = Decoder(dict[str, Raw]).decode
_text_of = Decoder(str).decode
_encode = Encoder().encode


class Names:
    """Table of the names of all servers.

    With :attr:`Naming.ALWAYS` it is empty but for names that had to be shortened.  Otherwise a
    name belongs to the server that had it first, for as long as this table lasts.  It holds at
    most ``limit`` names.  Raises ValueError for names of servers that cannot be used.
    """

    def __init__(self, servers: Sequence[str], naming: Naming | None, limit: int) -> None:
        for name in servers:
            if not _SERVER_NAME.fullmatch(name):
                text = "expected a letter, then up to 31 letters, digits and hyphens"
                raise ValueError(f"{name!r} cannot name a server: {text}")
        if len(set(servers)) < len(servers):
            raise ValueError("two servers have the same name")
        self._servers = frozenset(servers)
        if naming is None:
            naming = Naming.ALWAYS if len(servers) > 1 else Naming.NEVER
        self._naming = naming
        self._limit = limit
        self.plain = len(servers) == 1 and naming is not Naming.ALWAYS
        """True if no name is ever changed."""
        self.listed = not self.plain and naming is not Naming.ALWAYS
        """True if only the lists of the servers tell whose a name is."""
        self._owners: dict[tuple[NameKind, str], tuple[str, str]] = {}
        self._outer: dict[tuple[NameKind, str, str], str] = {}
        self.conflicts: list[NameConflict] = []
        """Conflicts that have not been reported."""

    # Single names

    def outward(self, kind: NameKind, server: str, name: str) -> str | None:
        """Return the name for clients; None if it has to be left out."""
        if self.plain:
            return name
        if self._naming is Naming.ALWAYS:
            outer = _prefixed(kind, server, name)
            return outer if self._fits(kind, outer) else self._own(kind, server, name, outer)
        known = self._outer.get((kind, server, name))
        if known is not None:
            return known
        found = self._own(kind, server, name, name)
        if found is None and self._naming is Naming.ON_CONFLICT:
            found = self._own(kind, server, name, _prefixed(kind, server, name))
        if found is None:
            self.conflicts = [*self.conflicts[-99:], NameConflict(kind, name, server)]
        return found

    def _fits(self, kind: NameKind, outer: str) -> bool:
        return kind is NameKind.URI or len(outer) <= _LONGEST

    def _own(self, kind: NameKind, server: str, name: str, outer: str) -> str | None:
        if not self._fits(kind, outer) and outer != name:
            import hashlib  # late: few names are that long

            digest = hashlib.sha256(outer.encode()).hexdigest()[:_DIGEST]
            outer = f"{outer[: _LONGEST - _DIGEST - 1]}_{digest}"
        owner = self._owners.get((kind, outer))
        if owner is None and len(self._owners) < self._limit:
            self._owners[kind, outer] = owner = server, name
            self._outer[kind, server, name] = outer
        return outer if owner == (server, name) else None

    def inward(self, kind: NameKind, outer: str) -> tuple[str, str] | None:
        """Return the server and its own name for one that a client uses; None if unknown."""
        known = self._owners.get((kind, outer))
        if known is not None or self._naming is Naming.NEVER:
            return known
        server, name = _split(kind, outer)
        return (server, name) if server in self._servers else None

    def owner_of_uri(self, uri: str) -> tuple[str, str] | None:
        """Return the server of the listed template with the longest common beginning."""
        found, longest = None, 0
        for (kind, outer), (server, _) in self._owners.items():
            head, brace, _ = outer.partition("{")
            if kind is NameKind.URI and brace and uri.startswith(head) and len(head) > longest:
                found, longest = (server, uri), len(head)
        return found

    # Messages

    def outward_in(self, method: str, server: str, body: Raw) -> Raw:
        """Return a result, or the params of a notification, with the names for clients."""
        if self.plain:
            return body
        for way, kind in IN_RESULTS.get(method, ()):
            listed = method.endswith("/list") and len(way) == 3

            def named(name: str, kind: NameKind = kind, listed: bool = listed) -> str | None:
                found = self.outward(kind, server, name)
                return found if listed or found is not None else name

            body = rewrite(body, way, on_text(named))
        return body

    def outward_in_error(self, method: str, server: str, data: Raw) -> Raw:
        """Return the data of an error with the URI for clients."""
        way = IN_ERRORS.get(method)
        if self.plain or way is None:
            return data
        return rewrite(
            data, way, on_text(lambda uri: self.outward(NameKind.URI, server, uri) or uri)
        )

    def inward_in(self, method: str, params: Raw) -> tuple[str, Raw] | None:
        """Return the server that a request is for, and its params there; None if unknown.

        Raises msgspec.MsgspecError for params without the name that tells.
        """
        for way, kind in IN_PARAMS.get(method, ()):
            outer = text_at(params, way)
            if outer is None:
                continue
            found = self.inward(kind, outer)
            if found is None and kind is NameKind.URI and self._naming is not Naming.ALWAYS:
                found = self.owner_of_uri(outer)
            if found is None:
                return None
            server, name = found
            inner = Raw(_encode(name))
            return server, rewrite(params, way, partial(_replaced, inner))
        return None


def _replaced(new: Raw, _: Raw) -> Raw:
    return new


def text_at(body: Raw, way: Path) -> str | None:
    """Return the string at ``way``, None if there is none.  Raises msgspec.MsgspecError."""
    for step in way:
        members = _members_of(body)
        if step not in members:
            return None
        body = members[step]
    return _text_of(body)


def _prefixed(kind: NameKind, server: str, name: str) -> str:
    if kind is not NameKind.URI:
        return f"{server}__{name}"
    return f"ui://{server}+{name[5:]}" if name.startswith("ui://") else f"{server}+{name}"


def _split(kind: NameKind, outer: str) -> tuple[str, str]:
    if kind is not NameKind.URI:
        server, _, name = outer.partition("__")
        return server if name else "", name
    if outer.startswith("ui://"):
        server, plus, rest = outer[5:].partition("+")
        return server if plus else "", f"ui://{rest}"
    server, plus, rest = outer.partition("+")
    return server if plus else "", rest
