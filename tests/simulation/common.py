"""Books of what concerns no request: changes of resources and lists, and news for all.

Who has asked to hear of them, to whom they were promised, and what has left for whom and come.
"""

from math import inf
from typing import TYPE_CHECKING, Any

from tests.simulation.rules import demand

if TYPE_CHECKING:
    from tests.simulation.accounts import Accounts, Ask

_UPDATED = "notifications/resources/updated"
_LISTED = "notifications/tools/list_changed"
_SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
_URIS = "resourceSubscriptions"
MADE = "acme/made"
"""In the ``_meta`` of a change: its number among all of its kind."""
TOOLS = "tools/list"
"""Stands for the list of tools where resources stand for themselves."""
_OPENS, _GONE = 200, 410
_UNHEARD = 31.0
"""Seconds after which a server has heard as well that the connection of a stream was lost."""


class Common:
    """The part of the books that is about these."""

    def __init__(self, books: "Accounts") -> None:
        self._books = books
        self._subscribed: set[tuple[int, str]] = set()
        """Clients with what they have asked to be told of in their sessions."""
        self.changes = 0
        """Updates of resources that were made."""
        self.listed = 0
        """Changes of the list of tools that were made."""
        self._makers: dict[tuple[str, int], int] = {}
        """By what has changed and the number of the change: the server that made it."""
        self._changed: dict[tuple[str, int], float] = {}
        """... and when that was."""
        self._told_of: dict[tuple[Any, ...], list[int]] = {}
        """By stream, what has changed and maker: the changes that have left, or were heard; the
        newest is the last."""
        self._heard: dict[tuple[int, str], int] = {}
        """By client and resource: the newest change that was heard of."""
        self._owed: dict[tuple[int, str], int] = {}
        """... and the newest that was made when it had been promised."""
        self._interest: dict[tuple[int, str], list[Ask]] = {}
        """By client and resource: the requests to be told of it, or not any more."""
        self._apart: set[Ask] = set()
        """Those of them that were made when all before them had ended."""
        self._left: dict[tuple[int, str], int] = {}
        """... for which it has ended: the updates that were made before."""
        self.listens: dict[tuple[int, Any], dict[str, Any]] = {}
        """By client and id: what a listen stream is to carry."""
        self.sessions: set[int] = set()
        """Clients that have had a session."""
        self.reopened: dict[int, float] = {}
        """By client: when its standalone stream has begun anew, be it in another session."""
        self._made: dict[tuple[int, int], float] = {}
        """By server and news for all: when that was made."""
        self._all: dict[tuple[int, int], list[int]] = {}
        """By client and server: the news for all that was heard."""
        self._told: dict[tuple[Any, int], set[int]] = {}
        """By session and server: the news for all that has left for it."""
        self.unresumed: dict[int, list[float]] = {}
        """By client: when it lost the stream of its session and had no id to ask with."""
        self._whose: dict[Any, int] = {}
        """By session: the client that has it."""
        self._opened: dict[Any, list[float]] = {}
        """By session: when a server has begun a stream of it that follows on none."""
        self._outlived: dict[Any, float] = {}
        """By session that asked for what followed an event that was not kept any more: until then
        news for all may have gone to that stream, and be lost with it."""
        self.last_news: dict[int, int] = {}
        """By server: the news that was made when nothing went wrong any more."""

    # Who wants to hear of changes

    def subscribing(self, client: int, ask: "Ask", uri: str) -> None:
        """A client asks to be told of a resource, or not any more."""
        place = client, uri
        if ask.kind == "subscribe":
            self._subscribed.add(place)
        self._left.pop(place, None)
        asked = self._interest.setdefault(place, [])
        # What is under way at the same time arrives in any order.
        if all(each.ended for each in asked):
            self._apart.add(ask)
        asked.append(ask)

    def unsubscribed(self, client: int, ask: "Ask") -> None:
        """A client was answered that it is not told of a resource any more.

        Unless a request to be told of it may yet arrive, or another worker has not heard of it.
        """
        for place, asked in self._interest.items():
            if place[0] == client and asked[-1] is ask:
                settled = all(each.ended == "ResultReceived" for each in asked)
                settled = settled and ask in self._apart
                twice = any(self._arrives(client, each) for each in asked)
                if settled and not twice and not self._books.shared:
                    self._left[place] = self.changes

    def _arrives(self, client: int, ask: "Ask") -> bool:
        """A second one of a request may yet arrive."""
        return self._books.doubled.get((client, ask.number), 0.0) > self._books.world.time

    def _promised(self, client: int, uri: str) -> bool:
        asked = self._interest.get((client, uri), [])
        settled = all(ask.ended == "ResultReceived" for ask in asked)
        if asked and settled and asked[-1].kind == "subscribe":
            return True
        known = self._books.by_id[client]
        return any(
            known[id].acknowledged and known[id].ended is None
            for (listener, id), chosen in self.listens.items()
            if listener == client and uri in chosen[_URIS]
        )

    # What is made

    def listing(self, maker: int) -> int:
        """The list of tools has changed; give the number of the change."""
        self.listed += 1
        self._made_by(maker, TOOLS, self.listed)
        return self.listed

    def changed(self, uri: str, maker: int) -> int:
        """A resource has changed; give the number of the change.

        Where nothing goes wrong, whoever was promised so hears of it.
        """
        self.changes += 1
        self._made_by(maker, uri, self.changes)
        self._owe(uri)
        return self.changes

    def _made_by(self, maker: int, what: str, number: int) -> None:
        self._makers[what, number] = maker
        self._changed[what, number] = self._books.world.time

    def _owe(self, uri: str) -> None:
        if not self._books.perfect or self._books.shared:
            return
        for client in self._books.asks:
            if self._promised(client, uri):
                self._owed[client, uri] = self.changes

    def made(self, server: int, piece: int) -> None:
        """A server has made news for all."""
        self._made[server, piece] = self._books.world.time

    # What is on the wires

    def sent(self, client: int, session: Any, message: Any, *, again: bool = False) -> None:
        """A server has sent a client something, in a session.

        ``again``: the client had been given it before, and has asked for it once more.
        """
        method = message.get("method")
        if method in (_UPDATED, _LISTED):
            self._change(client, message)
            if not again:
                self._once("a change is sent once, in order", client, session, message["params"])
        elif method == "notifications/x" and "all" in message["params"]:
            params = message["params"]
            self._told.setdefault((session, params["by"]), set()).add(params["all"])
            self._whose[session] = client

    def stream(self, session: Any, status: int, *, again: bool) -> None:
        """A server answers a client that has asked for the stream of its session, or for what
        followed on it."""
        if status == _OPENS and not again:
            self._opened.setdefault(session, []).append(self._books.world.time)
        if status == _GONE:
            self._outlived[session] = inf
        elif status == _OPENS and not again and self._outlived.get(session) == inf:
            self._outlived[session] = self._books.world.time + _UNHEARD

    def _change(self, client: int, message: Any) -> None:
        """A client hears of changes what it has asked for."""
        rule, params = "a change is for those who asked to hear of it", message.get("params") or {}
        uri, stream = params.get("uri"), (params.get("_meta") or {}).get(_SUBSCRIPTION)
        if stream is not None:
            chosen = self.listens.get((client, stream))
            demand(chosen is not None, rule, client, message)
            assert chosen is not None
            wanted = chosen.get("toolsListChanged") if uri is None else uri in chosen[_URIS]
            demand(bool(wanted), rule, client, message, chosen)
        elif uri is not None:
            demand((client, uri) in self._subscribed, rule, client, message)
            made: int = params["_meta"][MADE]
            heard = made <= self._left.get((client, uri), made)
            demand(heard, "no change is told after the end of a subscription", client, message)

    def _once(self, rule: str, client: int, place: Any, params: Any) -> None:
        """No change is told twice, nor an older one of a server after a newer of the same.

        A newer one may take the place of an older that waits.
        """
        what, meta = params.get("uri", TOOLS), params["_meta"]
        made: int = meta[MADE]
        stream = meta.get(_SUBSCRIPTION)
        told = self._told_of.setdefault((rule, place, stream, what, self._makers[what, made]), [])
        # A worker to which a session is new tells what it may have missed, be it from before its
        # client has subscribed; another may have told of newer ones meanwhile.
        anew = self._books.shared and stream is None and made not in told
        # What waited on a stream of which a server hears late that it is lost moves to the next.
        since = self.reopened.get(client, -_UNHEARD) + _UNHEARD
        moved = stream is None and made not in told and since >= self._changed[what, made]
        fits = not told or made > told[-1] or anew or moved
        demand(fits, rule, what, told, made)
        if not told or made > told[-1]:
            told.append(made)
        else:
            told.insert(0, made)

    # What is heard

    def heard_of(self, client: int, what: str) -> int:
        """The number of the newest change of something of which a client has heard."""
        return self._heard.get((client, what), 0)

    def heard_all(self, client: int, server: int) -> list[int]:
        """The news for all that a client has heard of a server."""
        return self._all.get((client, server), [])

    def heard(self, client: int, data: Any) -> None:
        """A client was told something that concerns no request."""
        if MADE in (data.get("_meta") or ()):
            self._once("a change is heard of once, in order", client, client, data)
            place = client, data.get("uri", TOOLS)
            self._heard[place] = max(self._heard.get(place, 0), data["_meta"][MADE])
        elif "all" in data:
            self._news(client, data["by"], data["all"])

    def _news(self, client: int, server: int, piece: int) -> None:
        heard = self._all.setdefault((client, server), [])
        # What was on a stream that nobody can ask for again may come later, on the next one; and a
        # worker that hears of news late tells them to a session that is younger than they are.
        made, now = self._made[server, piece], self._books.world.time
        anew = self.reopened.get(client, -_UNHEARD) + _UNHEARD >= made
        demand(anew or piece not in heard, "news for all comes once", client, server, piece)
        loose = anew or self._books.excuses.store(made, now)
        ordered = loose or not heard or piece > heard[-1]
        demand(ordered, "news for all comes in order", client, server, piece, heard)
        heard.append(piece)

    # What must have come about

    def changes_told(self, client: int) -> None:
        """Whom a change was promised has heard of it, or of a newer one, unless it wants none."""
        for (listener, uri), made in self._owed.items():
            if listener == client and self._promised(client, uri):
                heard = self.heard_of(client, uri)
                demand(heard >= made, "a change is told", client, uri, heard, made)

    def all_told(self) -> None:
        """Whom the last news for all has reached was sent all of it since its beginning.

        But for what was made before its client came back to a stream too late, be it by the clock
        of one worker alone: what was on that is lost.  And for what was written to a stream that
        was lost before its client had an id to ask with, until it had the next one.
        """
        right = self._books.excuses.walls_right
        for (session, server), pieces in self._told.items():
            last = self.last_news.get(server)
            if last in pieces and not self._books.tight:
                since = max(right, self._outlived.get(session, 0.0))
                left = {piece for piece in pieces if self._made[server, piece] > since}
                lost = set(range(min(left, default=last + 1), last + 1)) - left
                whole = all(self._unheard(session, self._made[server, piece]) for piece in lost)
                demand(whole, "no news for all is lost", session, server, sorted(left))

    def _unheard(self, session: Any, made: float) -> bool:
        """Whether what was made then may have been written to a lost stream, before the next."""
        opened = self._opened.get(session, [])
        return any(
            at <= made <= min([at + _UNHEARD, *(each for each in opened if each > at)])
            for at in self.unresumed.get(self._whose[session], [])
        )
