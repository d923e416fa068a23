"""Names of tools, prompts and resources of several servers, told apart by the server's name.

Outward is the direction to the client, inward the one to the server.  The prefix of a name is that
of the server in the characters that are allowed there: hosts of clients accept letters, digits,
``_`` and ``-`` in names of tools, a URI scheme (RFC 3986 section 3.1) is in lower case, begins with
a letter and has no ``_``.  No prefix has two ``_`` in a row, or one at the end: the first ``__``
ends it.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from itertools import product

from msgspec import Raw, Struct

from mcpcore.relay.rewriting import Path, members_of, on_text, path, rewrite, text_of
from mcpcore.spec.types.base import META_APP


class Naming(Enum):
    """Ways to name what several servers offer."""

    ALWAYS = "always"
    """Prefix each name with that of its server."""
    ON_CONFLICT = "on conflict"
    """Prefix a name that a server before this one has, or may have as its list is not known, and
    one that begins with the prefix of another server."""
    NEVER = "never"
    """Prefix no name; what has a name of another server is left out and reported, and so, for the
    grace time, is what a server before it may have as its list is not known."""


class NameKind(Enum):
    """Kinds of names, each a namespace of its own."""

    TOOL = "tool"
    PROMPT = "prompt"
    URI = "resource"


class NameConflict(Struct, frozen=True):
    """Item of ``server`` that is left out, as ``owner`` has one of the same name."""

    kind: NameKind
    name: str
    server: str
    owner: str | None
    """Server with that name; None if the item is left out because too many names are remembered."""

    def __str__(self) -> str:
        why = "too many names" if self.owner is None else f"{self.owner!r} has one of that name"
        return f"the {self.kind.value} {self.name!r} of {self.server!r} is left out: {why}"


class ListCut(Struct, frozen=True):
    """List of a server that has more pages than are read to find names."""

    server: str
    method: str
    pages: int

    def __str__(self) -> str:
        return (
            f"{self.method} of {self.server!r} is read for {self.pages} pages and has more: "
            "names on the others are not known"
        )


_OTHERS = re.compile(r"[^A-Za-z0-9-]+")
_LONGEST_PREFIX = 32
LONGEST_NAME = 64
"""Maximum characters of a tool name that every revision and the official suite accept."""
_DIGEST = 8
_SHORTENED = re.compile(rf"_[0-9a-f]{{{_DIGEST}}}\Z")

_T, _P, _U = NameKind.TOOL, NameKind.PROMPT, NameKind.URI
LISTED = {
    _T: ("tools/list",),
    _P: ("prompts/list",),
    _U: ("resources/list", "resources/templates/list"),
}
"""Methods of the lists that have the names of a kind."""
_OF_TOOLS = (
    (path("content/*/?resource_link/uri"), _U),
    (path("content/*/?resource/resource/uri"), _U),
    (path("_meta/ui/resourceUri"), _U),
    (("_meta", META_APP), _U),
)
_OF_TASKS = tuple((("result", *way), kind) for way, kind in _OF_TOOLS)
IN_RESULTS: Mapping[str, tuple[tuple[Path, NameKind], ...]] = {
    "tools/list": (
        (path("tools/*/name"), _T),
        (path("tools/*/_meta/ui/resourceUri"), _U),
        (("tools", "*", "_meta", META_APP), _U),
    ),
    "prompts/list": ((path("prompts/*/name"), _P),),
    "skills/list": ((path("skills/*/uri"), _U), (path("skills/*/resources/*/uri"), _U)),
    "skills/get": ((path("skill/uri"), _U), (path("skill/resources/*/uri"), _U)),
    "resources/list": ((path("resources/*/uri"), _U),),
    "resources/templates/list": ((path("resourceTemplates/*/uriTemplate"), _U),),
    "resources/read": ((path("contents/*/uri"), _U),),
    "resources/read error": ((path("uri"), _U),),
    "tools/call": _OF_TOOLS,
    "tasks/result": _OF_TOOLS,
    "tasks/get": _OF_TASKS,
    "notifications/tasks": _OF_TASKS,
    "prompts/get": (
        (path("messages/*/content/?resource_link/uri"), _U),
        (path("messages/*/content/?resource/resource/uri"), _U),
    ),
    "notifications/resources/updated": ((path("uri"), _U),),
}
"""Places of names in results, notifications and data of errors of a server, by method."""
IN_PARAMS: Mapping[str, tuple[tuple[Path, NameKind], ...]] = {
    "tools/call": ((path("name"), _T),),
    "prompts/get": ((path("name"), _P),),
    "resources/read": ((path("uri"), _U),),
    "resources/subscribe": ((path("uri"), _U),),
    "resources/unsubscribe": ((path("uri"), _U),),
    "completion/complete": ((path("ref/name"), _P), (path("ref/uri"), _U)),
}
"""Places of names in params of a client; the first one there tells the server."""


class Names:
    """Table of the names of all servers.

    With :attr:`Naming.ALWAYS` it is empty but for names that had to be shortened.  Otherwise a
    name belongs to the first server that lists it, for as long as this table lasts; while the list
    of a server before it is not known, :attr:`Naming.ON_CONFLICT` prefixes it.  The table holds at
    most ``limit`` names of lists, an equal share of each server, and as many others, of which the
    last used are kept.  Raises ValueError for names of servers that cannot be used.
    """

    def __init__(self, servers: Sequence[str], naming: Naming | None, limit: int) -> None:
        if naming is None:
            naming = Naming.ALWAYS if len(servers) > 1 else Naming.NEVER
        self._naming = naming
        self._prefixes: dict[tuple[NameKind, str], str] = {}
        """Prefixes by kind and server; none if no name has any."""
        self._prefixed_by: dict[tuple[NameKind, str], str] = {}
        """Servers by kind and prefix."""
        for server in () if naming is Naming.NEVER else servers:
            for kind, prefix in _prefixes(server):
                other = self._prefixed_by.setdefault((kind, prefix), server)
                if other is not server or (kind, server) in self._prefixes:
                    raise ValueError(f"two servers, {other!r} and {server!r}, have one prefix")
                self._prefixes[kind, server] = prefix
        self._limit, self._share = limit, max(1, limit // max(1, len(servers)))
        self._counts: Counter[str] = Counter()
        """Number of names of lists by server."""
        self.plain = len(servers) == 1 and naming is not Naming.ALWAYS
        """True if no name is ever changed."""
        self.listed = not self.plain and naming is not Naming.ALWAYS
        """True if only the lists of the servers tell whose a name is."""
        self.never = self.listed and naming is Naming.NEVER
        """True if no name has a prefix, so that one of two servers lacks it."""
        self._servers = tuple(servers)
        self.read: set[tuple[str, str]] = set()
        """Lists that were read to their end: servers and methods."""
        self._owners: dict[tuple[NameKind, str], tuple[str, str]] = {}
        self._linked: dict[tuple[NameKind, str], tuple[str, str]] = {}
        """Names that were in results and in no list; the last used is the last."""
        self._heads: dict[str, str] = {}
        """Servers by the beginnings of the URI templates in their lists."""
        self._lengths: set[int] = set()
        """Lengths of these beginnings."""
        self.conflicts: list[NameConflict | ListCut] = []
        """Conflicts, and lists that are not known whole, that have not been reported."""

    # Single names

    def outward(self, kind: NameKind, server: str, name: str, *, listed: bool = True) -> str | None:
        """Return the name for clients; None if it has to be left out.

        ``listed``: False for one that is in no list: it is forgotten in time, and hides none.
        """
        if self.plain:
            return name
        if self._naming is Naming.ALWAYS:
            outer = self._prefixed(kind, server, name)
            plain = self._fits(kind, outer) and not _is_shortened(kind, outer)
            return outer if plain else self._own(kind, server, name, outer, listed)
        found, never = None, self._naming is Naming.NEVER
        if never or (self._is_first(kind, server, name) and self._is_free(kind, server, name)):
            found = self._own(kind, server, name, name, listed)
        if found is None and not never:
            found = self._own(kind, server, name, self._prefixed(kind, server, name), listed)
        if found is None:
            owner = (self.inward(kind, name) or (None,))[0]
            self.report(NameConflict(kind, name, server, owner))
        return found

    def _prefixed(self, kind: NameKind, server: str, name: str) -> str:
        prefix = self._prefixes[kind, server]
        if kind is not _U:
            return f"{prefix}__{name}"
        return f"ui://{prefix}+{name[5:]}" if name.startswith("ui://") else f"{prefix}+{name}"

    def report(self, flaw: NameConflict | ListCut) -> None:
        """Add to :attr:`conflicts`, of which the last 100 are kept."""
        self.conflicts = [*self.conflicts[-99:], flaw]

    def _is_first(self, kind: NameKind, server: str, name: str) -> bool:
        """Return True if the lists of the servers before this one are known to lack a name."""
        method = LISTED[kind][-1 if "{" in name else 0]
        before = self._servers[: self._servers.index(server)]
        return self.read.issuperset((each, method) for each in before)

    def _is_free(self, kind: NameKind, server: str, name: str) -> bool:
        """Return True if a name does not look as one of another server with its prefix."""
        return self._prefixed_by.get((kind, _split(kind, name)[0]), server) == server

    def _fits(self, kind: NameKind, outer: str) -> bool:
        return kind is NameKind.URI or len(outer) <= LONGEST_NAME

    def _own(self, kind: NameKind, server: str, name: str, outer: str, listed: bool) -> str | None:
        if not self._fits(kind, outer) and outer != name:
            import hashlib  # late: few names are that long

            digest = hashlib.sha256(outer.encode()).hexdigest()[:_DIGEST]
            outer = f"{outer[: LONGEST_NAME - _DIGEST - 1]}_{digest}"
        place, owned = (kind, outer), (server, name)
        owner = self._owners.get(place) if listed else self._owner(kind, outer)
        if owner not in (None, owned):
            return None
        if not listed and place not in self._owners:
            self._linked[place] = owned
            if len(self._linked) > self._limit:
                del self._linked[next(iter(self._linked))]
        elif place not in self._owners:
            if self._counts[server] >= self._share:
                return None
            self._counts[server] += 1
            self._owners[place] = owned
            head, brace, _ = outer.partition("{")
            if kind is _U and brace and head:
                self._heads.setdefault(head, server)
                self._lengths.add(len(head))
            self._linked.pop(place, None)
        return outer

    def _owner(self, kind: NameKind, outer: str) -> tuple[str, str] | None:
        place = kind, outer
        linked = self._linked.pop(place, None)
        if linked is not None:
            self._linked[place] = linked  # the last used is the last
        return self._owners.get(place, linked)

    def inward(self, kind: NameKind, outer: str, *, learned: bool = True) -> tuple[str, str] | None:
        """Return the server and its own name for one that a client uses; None if unknown.

        ``learned``: False if the lists may tell more of it.
        """
        known = self._owner(kind, outer)
        if known is not None or self._naming is Naming.NEVER:
            return known
        if not self._fits(kind, outer) or (not learned and _is_shortened(kind, outer)):
            return None  # no name with a prefix is that long
        prefix, name = _split(kind, outer)
        server = self._prefixed_by.get((kind, prefix))
        return None if server is None else (server, name)

    def spellings(self, kind: NameKind, server: str, name: str) -> set[str]:
        """Return the names that lead to what a server lists, none if it is left out.

        The one with the prefix does so always, as another process may have given it to a client.
        """
        outer = self.outward(kind, server, name)
        if outer is None or (kind, server) not in self._prefixes:
            return set() if outer is None else {outer}
        both = {outer, self._prefixed(kind, server, name)}
        return {each for each in both if self.inward(kind, each) == (server, name)}

    def owner_of_uri(self, uri: str, *, learned: bool = True) -> tuple[str, str] | None:
        """Return the server of the listed template with the longest common beginning.

        ``learned``: False if the lists may tell more: one that was not read may have the URI.
        """
        if not (learned or self.read.issuperset(product(self._servers, LISTED[_U]))):
            return None
        for length in sorted(self._lengths, reverse=True):
            if (server := self._heads.get(uri[:length])) is not None:
                return server, uri
        return None

    # Messages

    def outward_in(self, method: str, server: str, body: Raw, *, new: bool = True) -> Raw:
        """Return what a server has sent, of :data:`IN_RESULTS`, with the names for clients.

        ``new``: False to leave out of lists what clients have no name for yet.
        """
        if self.plain:
            return body
        for way, kind in IN_RESULTS.get(method, ()):
            listed = method.endswith("/list") and len(way) == 3

            def named(name: str, kind: NameKind = kind, listed: bool = listed) -> str | None:
                if not new and listed and self.inward(kind, name) != (server, name):
                    return None
                found = self.outward(kind, server, name, listed=listed)
                return found if listed or found is not None else name

            body = rewrite(body, way, on_text(named))
        return body

    def inward_in(
        self, method: str, params: Raw, *, learned: bool = True
    ) -> tuple[str, Raw] | None:
        """Return the server that a request is for, and its params there; None if unknown.

        ``learned``: False if the lists may tell more.  Raises msgspec.MsgspecError for params
        without the name that tells.
        """
        way, kind, outer = _named(method, params)
        if outer is None:
            return None
        found = self.inward(kind, outer, learned=learned)
        if found is None and kind is NameKind.URI and self._naming is not Naming.ALWAYS:
            found = self.owner_of_uri(outer, learned=learned)
        if found is None:
            return None
        server, name = found
        return server, rewrite(params, way, on_text(lambda _: name))

    def told_by_lists(self, method: str, params: Raw) -> bool:
        """Return True if only the lists of the servers tell whose the name in a request is."""
        _, kind, outer = _named(method, params)
        if outer is None or self.plain:
            return False
        return self.listed or _is_shortened(kind, outer)


def _named(method: str, params: Raw) -> tuple[Path, NameKind, str | None]:
    """Return the place, the kind and the text of the name that tells the server of a request."""
    found = ((way, kind, text_at(params, way)) for way, kind in IN_PARAMS.get(method, ()))
    return next((each for each in found if each[2] is not None), ((), _T, None))


def _is_shortened(kind: NameKind, outer: str) -> bool:
    return kind is not _U and len(outer) == LONGEST_NAME and _SHORTENED.search(outer) is not None


def text_at(body: Raw, way: Path) -> str | None:
    """Return the string at ``way``, None if there is none.  Raises msgspec.MsgspecError."""
    for step in way:
        members = members_of(body)
        if step not in members:
            return None
        body = members[step]
    return text_of(body)


def _prefixes(server: str) -> Iterator[tuple[NameKind, str]]:
    """Yield the name of a server in the characters that are allowed in names, by their kind.

    Of other characters a single dot stays, where it may, and others are one underscore.  Raises
    ValueError for a name without a letter or a digit.
    """
    text = _OTHERS.sub(lambda run: "." if run[0] == "." else "_", server).lstrip("._-")
    text = f"s{text}" if text[:1].isdigit() else text
    text = text[:_LONGEST_PREFIX].rstrip("._")
    if not text:
        raise ValueError(f"{server!r} cannot name a server: it has no letter or digit of ASCII")
    yield _U, text.lower().replace("_", ".")
    yield from ((kind, text.replace(".", "_")) for kind in (_T, _P))


def _split(kind: NameKind, outer: str) -> tuple[str, str]:
    """Return the prefix of a server and the rest, which is empty if there is none."""
    if kind is not NameKind.URI:
        prefix, _, name = outer.partition("__")
        return prefix if name else "", name
    scheme = "ui://" if outer.startswith("ui://") else ""
    prefix, plus, rest = outer.removeprefix(scheme).partition("+")
    return prefix.lower() if plus else "", scheme + rest
