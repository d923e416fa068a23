"""Mounting of a server in another one: copies of its declarations under a prefix, kept up to date.

Names are prefixed.  The prefix is a namespace of URIs, before their scheme: ``notes+file:///a``;
with the scheme ``ui`` it stands before the host, ``ui://notes+chart``.  Results have URIs of the
mounted server's resources in it, wherever the protocol has URIs.
"""

import re
from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Raw

from mcpcore.service.handlers import Declaration
from mcpcore.service.server import Server
from mcpcore.wire.jsontext import joined

_PREFIX = re.compile(r"([A-Za-z][A-Za-z0-9_.-]*?)?[_.-]*")
_UI = "ui://"

_WITH_URIS = frozenset({"content", "contents", "messages"})
"""Members of results that hold blocks of content or messages with one."""

_decode = msgspec.json.Decoder().decode
_members_of = msgspec.json.Decoder(dict[str, Raw]).decode


class Mount:
    """Mounted server, with its place in the other one.

    Raises ValueError for a bad prefix, and for a name or URI that is taken, naming both servers;
    then nothing is mounted.
    """

    def __init__(self, into: Server, server: Server, prefix: str) -> None:
        found = _PREFIX.fullmatch(prefix)
        if found is None:
            raise ValueError(f"prefix {prefix!r}: expected a letter, then letters, digits, _ . -")
        self.server = server
        self._into = into
        self._prefix = prefix
        self._space = (found[1] or "").replace("_", "-")
        self._mounted: dict[str, dict[str, Declaration]] = {list: {} for list in into.collections}
        """Declarations that are mounted, by list and key, as the mounted server has them."""
        plans = {list: self._plan(list) for list in self._mounted}
        for _, problems in plans.values():
            if problems:
                raise ValueError(problems[0])
        for list, (copies, _) in plans.items():
            self._carry_out(list, copies)

    def follow(self, list: str) -> None:
        """Take over the change of a list.  Raises ValueError for a name or URI that is taken."""
        copies, problems = self._plan(list)
        if not self._carry_out(list, copies):
            self._into.list_changed(list)  # it is seen by others
        if problems:
            raise ValueError(problems[0])

    def updated(self, uri: str) -> None:
        """Pass on that a resource of the mounted server has changed."""
        self._into.resource_updated(self._uri(uri))

    def outward(self, body: Raw) -> Raw:
        """Return a result with URIs of the mounted server's resources in the namespace.

        Its other members, such as structured content, stay byte for byte.
        """
        if not self._space or b'"uri"' not in bytes(body):
            return body
        members = _members_of(body)
        for name in _WITH_URIS & members.keys():
            items = _decode(members[name])
            for item in items:
                block = item["content"] if name == "messages" else item
                holder = block.get("resource", block)
                uri = holder.get("uri")
                if isinstance(uri, str) and self.server.has_resource(uri):
                    holder["uri"] = self._uri(uri)
            members[name] = Raw(msgspec.json.encode(items))
        return Raw(joined(members))

    def _plan(self, list: str) -> tuple[dict[str, Declaration], Sequence[str]]:
        """Return copies of what is new, by name or URI, and why some cannot be mounted."""
        ours, known = self._into.collections[list], self._mounted[list]
        copies: dict[str, Declaration] = {}
        problems = []
        for key, entry in self.server.collections[list].by_key().items():
            if known.get(key) is entry:
                continue
            outer = self._outer(list, key)
            try:
                self._refuse_taken(outer, ours.by_key().get(outer))
                made = copies[outer] = entry.renamed(outer, self._uri)
            except ValueError as error:
                where = f"{self.server.info.name!r} cannot be mounted in {self._into.info.name!r}"
                problems.append(f"{ours.kind} {key!r} of the server {where}: {error}")
                continue
            made.origin = entry.origin or (self.server, key)
            made.mounts = (*entry.mounts, self)
        return copies, problems

    def _refuse_taken(self, outer: str, entry: Declaration | None) -> None:
        if entry is not None and self not in entry.mounts:
            at = entry.mounts[-1].server if entry.mounts else self._into
            raise ValueError(f"{outer!r} is taken by the server {at.info.name!r}")

    def _carry_out(self, list: str, copies: Mapping[str, Declaration]) -> bool:
        """Mount copies, take away what is gone; return True if that changed anything."""
        known, now = self._mounted[list], self.server.collections[list].by_key()
        self._mounted[list] = now
        ours = self._into.collections[list].by_key()
        gone = [
            outer
            for outer in (self._outer(list, key) for key in known.keys() - now.keys())
            if outer in ours and self in ours[outer].mounts
        ]
        for outer in gone:
            self._into.withdraw(list, outer)
        for outer, made in copies.items():
            self._into.take(list, outer, made, replace=True)
        return bool(gone or copies)

    def _outer(self, list: str, key: str) -> str:
        named = list in ("tools", "prompts")
        return f"{self._prefix}{key}" if named else self._uri(key)

    def _uri(self, uri: str) -> str:
        if not self._space:
            return uri
        if uri.startswith(_UI):
            return f"{_UI}{self._space}+{uri[len(_UI) :]}"
        return f"{self._space}+{uri}"
