"""Mounting of a server in another one: copies of its declarations under a prefix, kept up to date.

Names are prefixed.  URIs get the prefix as a namespace before their scheme, ``notes+file:///a``, and
those of the scheme ``ui`` before their host, ``ui://notes+chart``.  Results have their URIs changed
where the protocol has them, if the mounted server has the resource.
"""

import re
from collections.abc import Callable, Iterable
from copy import copy
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from mcpcore.service.handlers import Declaration
from mcpcore.service.pagination import Collection
from mcpcore.wire.message import to_json

if TYPE_CHECKING:  # it imports this
    from mcpcore.service.resources import ResourceEntry
    from mcpcore.service.server import Server

_PREFIX = re.compile(r"([A-Za-z][A-Za-z0-9_.-]*?)?[_.-]*")
_UI = "ui://"
_URI_LISTS = ("resources", "templates")

_decode = msgspec.json.Decoder().decode


class Mount:
    """Server that is mounted in another one.

    Raises ValueError for a prefix that no name or URI may have, and for a name or URI that is taken,
    with both servers; then nothing is mounted.
    """

    def __init__(self, into: "Server", other: "Server", prefix: str) -> None:
        found = _PREFIX.fullmatch(prefix)
        if found is None:
            raise ValueError(
                f"prefix {prefix!r}: expected a letter, then letters, digits and _ . -, as URIs of "
                "the mounted resources begin with it"
            )
        self.server = other
        self._into = into
        self._prefix = prefix
        self._space = (found[1] or "").replace("_", "-")
        self._sources: dict[str, dict[str, Declaration]] = {}
        """Mounted declarations of the other server by list and key, as they are there."""
        copies = {list: self._copies(list) for list in other.collections}
        for list, made in copies.items():
            self._refuse_taken(list, made)
        for list in copies:
            self.follow(list)

    def follow(self, list: str) -> bool:
        """Bring a list up to date; return True if something was mounted or taken away."""
        theirs, ours = self.server.collections[list], self._into.collections[list]
        known, now = self._sources.get(list, {}), dict(theirs.items())
        self._refuse_taken(list, [self._outer(list, key) for key in now.keys() - known.keys()])
        for key in known.keys() - now.keys():
            self._into.drop(list, self._outer(list, key))
        changed = [key for key, entry in now.items() if known.get(key) is not entry]
        for key in changed:
            ours.add(self._outer(list, key), self._copy(list, key, now[key]), replace=True)
        self._sources[list] = now
        return bool(changed) or known.keys() != now.keys()
