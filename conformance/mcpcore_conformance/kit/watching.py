"""Watching what comes of calls: which report progress, which log, which come as streams.

This is done once for each revision and binding, on a conversation of its own, by the first case
that needs it and finds nothing of the fixture.  No tool is called that may not be.
"""

from collections.abc import Iterator

from msgspec import Struct, structs

from mcpcore.spec.types.base import META_LOG_LEVEL
from mcpcore_conformance.kit.asking import needs_input
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.messages import Message
from mcpcore_conformance.kit.model import Binding
from mcpcore_conformance.kit.reply import Reply
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.trying import MOST, calls, tried_until
from mcpcore_conformance.kit.verdicts import Ended
from mcpcore_conformance.kit.watched import FIXTURES, REPORTING, WATCHED, Watched

CALL, PROGRESS, MESSAGE = "tools/call", "notifications/progress", "notifications/message"


async def watched(talk: ServerTalk, what: str) -> Watched:
    """A request that does ``what`` (see ``WATCHED``); with none, the case does not apply."""
    name = FIXTURES[what]
    if name in talk.features.tools:
        params = {"name": name, "arguments": {}}
        return Watched(CALL, params, reports=name == REPORTING, known=True)
    seen = talk.features.seen
    async with seen.turn:
        if not seen.looked:
            try:
                await _Watch(talk).all(seen.by_kind)
            finally:
                # whoever has no time left for it leaves what was seen: nobody looks twice
                seen.looked = True
    if (found := seen.by_kind.get(what)) is None:
        talk.skip(f"the server has no tool {name}, nor {WATCHED[what]} among what may be called")
    return found


def any_call(talk: ServerTalk) -> Watched:
    """A call of whatever tool may be called, else another request that is served."""
    if REPORTING in talk.features.tools:
        return Watched(CALL, {"name": REPORTING, "arguments": {}}, reports=True, known=True)
    return next(_requests(talk, 1))


def _requests(talk: ServerTalk, most: int) -> Iterator[Watched]:
    """Requests that may be made: calls, and two that are hardly ever slow."""
    for params in calls(talk, most):
        yield Watched(CALL, params)
    method, params = talk.any_request()
    yield Watched(method, params)
    plain = talk.features.plainest_request(modern=talk.revision.modern)
    if plain != method:
        yield Watched(plain, {})


class Part(Struct, frozen=True):
    """Event of a stream."""

    event_id: str | None
    message: Message | None = None


def parts_of(link: Link, exchange: int, taken: Message | None = None) -> list[Part]:
    """Return the parts of a stream, in order; ``taken``: a message that left the inbox already."""
    heard = [
        (each.at, Part(each.event_id))
        for each in link.events
        if each.exchange == exchange and not each.comment
    ]
    messages = [*link.inbox] if taken is None else [*link.inbox, taken]
    heard += [
        (each.source.at, Part(each.source.event_id, each))
        for each in messages
        if each.source.exchange == exchange
    ]
    return [part for _, part in sorted(heard, key=lambda each: each[0])]


def behind(parts: list[Part], mark: str | None) -> list[Message]:
    """The messages that follow the event with that id; with none, what follows the first id."""
    places = [n for n, each in enumerate(parts) if each.event_id and mark in (None, each.event_id)]
    first = places[0] + 1 if places else len(parts)
    return [each.message for each in parts[first:] if each.message is not None]


class _Came(Struct):
    """Outcome of a request that was tried."""

    request: Watched
    reports: int = 0
    """Of progress."""
    logs: int = 0
    """Log messages that are its own, by the stream, or as a level was asked for in it alone."""
    others: set[str] = set()
    """Other log messages, which may be of the server's own accord."""
    took: float = 0.0
    """Seconds until the answer."""
    messages: int = 0
    """On its stream, the answer among them; 0: it was no stream."""
    marked: int = 0
    """Behind the first event with an id; -1: there was none."""
    polled: bool = False


def _keep(came: list[_Came], found: dict[str, Watched]) -> None:
    """Keep what has shown most of each kind."""
    for what, shows in (
        ("progress", [(each.reports, each) for each in came]),
        ("stream", [(each.messages, each) for each in came]),
        ("event-ids", [(1 + each.marked, each) for each in came]),
        ("polling", [(int(each.polled), each) for each in came]),
        ("logs", [(each.logs, each) for each in came]),
    ):
        most = max((number for number, _ in shows), default=0)
        if most > 0:
            found[what] = next(each.request for number, each in shows if number == most)


class _Watch:
    """Look on a conversation that no case has."""

    def __init__(self, talk: ServerTalk) -> None:
        self.logs = talk.features.declares("logging")
        self.talk = talk.apart()

    async def all(self, found: dict[str, Watched]) -> None:
        """Try everything, and keep what shows most of each kind."""
        came: list[_Came] = []
        try:
            await self._try_all(came)
        except Ended:
            pass  # what is wrong is for cases to find
        finally:
            _keep(came, found)
            await self.talk.close(keep=False)

    async def _try_all(self, came: list[_Came]) -> None:
        link = await self._link()
        until = tried_until(self.talk)
        for request in _requests(self.talk, MOST):
            if request.method == CALL and self.talk.stage.now() > until:
                continue
            found = await self._try(link, request)
            if found is not None and (found.reports or found.logs or found.others):
                unasked = await self._unasked(link, found.took) if found.others else set()
                # who reports once only, as it remembers the answer, is no good for cases
                again = await self._try(link, request) or _Came(request)
                found.reports = min(found.reports, again.reports)
                found.logs = min(found.logs, again.logs)
                # where something is logged at any time, only what was said twice and never else
                own = found.others & again.others - unasked if unasked else again.others
                found.logs += len(own)
                found.request = structs.replace(request, reports=found.reports > 0)
            if link.gone is not None:
                return
            if found is None:
                # what it says late is not to be taken for what comes of the next one
                link = await self._link()
            else:
                came.append(found)

    async def _link(self) -> Link:
        """A conversation in which all log messages are asked for."""
        link = await self.talk.open()
        if self.logs and not self.talk.revision.per_request_log_level:
            await link.listen()
            await link.request("logging/setLevel", {"level": "debug"})
        return link

    async def _unasked(self, link: Link, took: float) -> set[str]:
        """Return the log messages while nothing runs, in as much time as a request took."""
        await link.fence()
        link.inbox.clear()
        await link.until(lambda: None, max(took, self.talk.timing.quiet))
        return {repr(each.params) for each in link.inbox if each.method == MESSAGE}

    async def _try(self, link: Link, request: Watched) -> _Came | None:
        """Make a request; None if nothing came of it."""
        token = self.talk.fresh_id()
        link.inbox.clear()
        sent = await link.send(
            request.method,
            request.asking(token),
            meta={META_LOG_LEVEL: "debug"} if self.logs and link.revision.modern else None,
        )
        began = self.talk.stage.now()
        reply = await link.reply(sent, link.patience)
        if reply.message is None and (reply.pending or reply.status is None):
            self.talk.features.pace.took(sent.offer, link.patience)
            await link.cancel(sent)
            return None
        polled = sent.exchange in link.coming_back.polled
        took = self.talk.stage.now() - began
        found = _Came(request, marked=-1, polled=polled, took=took)
        if not reply.good or needs_input(reply):
            return found
        if self.logs:
            await link.fence()
        http = link.wire.binding is Binding.HTTP
        for each in link.inbox:
            if http and each.source.exchange != sent.exchange and each.method == PROGRESS:
                continue  # what goes astray is not what cases wait for
            about = each.params.get("progressToken") == token
            found.reports += each.method == PROGRESS and about
            if each.method == MESSAGE:
                own = link.revision.modern or (http and each.source.exchange == sent.exchange)
                found.logs += own
                found.others |= set() if own else {repr(each.params)}
        if not _streams(reply):
            return found
        parts = parts_of(link, sent.exchange, reply.message)
        found.messages = sum(each.message is not None for each in parts)
        if any(each.event_id for each in parts):
            found.marked = len(behind(parts, None))
        return found


def _streams(reply: Reply) -> bool:
    """Return True if the response of its POST is an event stream."""
    kind = (reply.header("content-type") or "").partition(";")[0].strip().lower()
    return reply.status == 200 and kind == "text/event-stream"
