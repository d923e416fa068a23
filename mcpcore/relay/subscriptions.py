"""Changes that servers announce, on their way to the clients that want to hear of them.

A client that wants changes is a watcher: the listen stream of a modern client, or the session of a
legacy one.  A modern server has a listen stream for each watcher, which is replaced, the new one
before the old one ends, when a session subscribes to something else; a legacy server has
subscriptions that its watchers share.

Source: the subscriptions page of 2026-07-28; the resources page of 2025-11-25.
"""

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw, Struct, structs

from mcpcore.engine import events
from mcpcore.engine.events import Key, RequestReceived
from mcpcore.engine.subscriptions import TOPICS, narrowed
from mcpcore.relay.link import Audience, Outcome, Target, UpstreamLink, void
from mcpcore.relay.names import NameKind
from mcpcore.spec.errors import INTERNAL_ERROR, RESOURCE_NOT_FOUND, ErrorData, LocalProtocolError
from mcpcore.spec.types.base import META_SUBSCRIPTION_ID
from mcpcore.spec.types.capabilities import ClientCapabilities
from mcpcore.spec.types.lifecycle import SubscriptionFilter, SubscriptionsListenParams
from mcpcore.wire.message import RequestId, to_json

if TYPE_CHECKING:  # a type alone: it owns this part
    from mcpcore.relay.relay import Relay

_LISTEN = "subscriptions/listen"
_SUBSCRIBE, _UNSUBSCRIBE = "resources/subscribe", "resources/unsubscribe"
_UPDATED = "notifications/resources/updated"
_LIST_CHANGES = [topic for topic in TOPICS.values() if topic.row.name.endswith("/list_changed")]

_members_of = msgspec.json.Decoder(dict[str, Raw]).decode
_listen_of = msgspec.json.Decoder(SubscriptionsListenParams).decode


class _Subject(Struct):
    uri: str


_subject_of = msgspec.json.Decoder(_Subject).decode


class Watcher(Struct, eq=False):
    """Client that wants to hear of changes."""

    audience: Audience
    key: Key | None
    """Listen stream; None for a session."""
    filter: SubscriptionFilter
    """Changes that the client wants, with the names that it uses."""
    granted: SubscriptionFilter = msgspec.field(default_factory=SubscriptionFilter)
    """Changes that servers announce, by the same names."""
    left: int = 0
    """Answers of servers that are awaited before a listen stream opens."""
    streams: dict[str, "Stream"] = {}
    """Listen streams of modern servers, by server."""
    links: list[UpstreamLink] = []
    """Conversations with legacy servers in which it watches."""
    ended: bool = False


class Stream(Struct, eq=False):
    """Listen stream of a modern server for one watcher."""

    watcher: Watcher
    target: Target
    filter: SubscriptionFilter
    request: RequestId | None = None
    link: UpstreamLink | None = None
    before: "Stream | None" = None
    """Stream that this one replaces, until it is acknowledged."""
    keys: list[Key] = []
    """Requests of a legacy client that wait for the acknowledgement."""
    failures: int = 0
    open: bool = False
    again: bool = False
    """True if changes may have been missed before."""
    deadline: float | None = None
    parts: Any = None

    def due(self) -> None:
        """Open the stream again."""
        self.parts.reopen(self)


class _Return(Struct, eq=False):
    """Watchers of a conversation that has ended, which go on in the next one."""

    parts: "Subscriptions"
    link: UpstreamLink
    deadline: float | None = None

    def due(self) -> None:
        """Begin the next conversation."""
        self.parts.rejoin(self.link)


class Subscriptions:
    """Part of a relay that knows the watchers."""

    def __init__(self, relay: "Relay") -> None:
        self._relay = relay
        self._streams: dict[Key, Watcher] = {}
        self._sessions: dict[str | None, Watcher] = {}

    # Requests of clients

    def takes(self, event: RequestReceived) -> bool:
        """Handle a request about changes; False for any other.  Raises msgspec.MsgspecError."""
        if event.method == _LISTEN:
            self._listen(event)
        elif event.method in (_SUBSCRIBE, _UNSUBSCRIBE):
            self._subscribe(event)
        else:
            return False
        return True

    def _listen(self, event: RequestReceived) -> None:
        """Open a listen stream of a modern client once every server has answered."""
        wanted = _listen_of(event.params).notifications
        watcher = Watcher(self._relay.audience_of(event), event.key, wanted)
        self._streams[event.key] = watcher
        watcher.left = len(self._relay.targets)
        for target in self._relay.targets.values():
            self._relay.when_known(target, partial(self._watch, watcher, target))

    def _watch(self, watcher: Watcher, target: Target) -> None:
        """Ask one server for the part of a filter that it can announce."""
        part = self._part(watcher.filter, target)
        if watcher.ended or target.greeting is None or part == SubscriptionFilter():
            self._granted(watcher, SubscriptionFilter())
        elif target.modern:
            self._open_stream(Stream(watcher, target, part, parts=self))
        else:
            self._join(watcher, target, part)

    def _part(self, wanted: SubscriptionFilter, target: Target) -> SubscriptionFilter:
        """Return the part of a filter for one server, by its own names."""
        fields: dict[str, Any] = {}
        for topic in TOPICS.values():
            value = getattr(wanted, topic.field)
            if topic.subject == "uri":
                value = [uri for uri in map(partial(self._inward, target), value) if uri]
            elif topic.subject is not None and len(self._relay.targets) > 1:
                continue
            if value and target.offers(topic.row.capability):
                fields[topic.field] = value
        return SubscriptionFilter(**fields)

    def _inward(self, target: Target, uri: str) -> str | None:
        names = self._relay.names
        if names.plain:
            return uri
        found = names.inward(NameKind.URI, uri) or names.owner_of_uri(uri)
        return found[1] if found is not None and found[0] == target.name else None

    def _outward(self, target: Target, filter: SubscriptionFilter) -> SubscriptionFilter:
        uris = filter.resource_subscriptions
        named = [self._relay.names.outward(NameKind.URI, target.name, uri) for uri in uris]
        return structs.replace(filter, resource_subscriptions=[uri for uri in named if uri])

    def _granted(self, watcher: Watcher, part: SubscriptionFilter) -> None:
        """Note what a server announces; open the client's stream after the last answer."""
        watcher.granted = _union(watcher.granted, part)
        if watcher.key is None or not watcher.left:
            return
        watcher.left -= 1
        if not watcher.left and not watcher.ended:
            self._relay.downstream.admit(watcher.key)

    def opened(self, event: events.SubscriptionOpened) -> None:
        """Restrict a stream that has opened to what the servers announce."""
        watcher = None if event.admitted is None else self._streams.pop(event.admitted, None)
        if watcher is not None:
            watcher.key = event.key
            self._streams[event.key] = watcher
            self._relay.downstream.narrow(event.key, narrowed(event.filter, watcher.granted))

    def closed(self, key: Key) -> None:
        """Stop watching for a stream that has ended, or was given up before it opened."""
        watcher = self._streams.pop(key, None)
        if watcher is not None:
            self._leave(watcher)
            self._relay.downstream.release(key)

    def _leave(self, watcher: Watcher) -> None:
        watcher.ended = True
        for stream in watcher.streams.values():
            self._close(stream)
        watcher.streams.clear()
        for link in watcher.links:
            link.watchers.discard(watcher)
            for uri, watchers in list(link.uris.items()):
                watchers.discard(watcher)
                if not watchers:
                    del link.uris[uri]
                    if not link.ended:
                        self._relay.ask(link, _UNSUBSCRIBE, {"uri": uri}, void)
            self._relay.watch(link)

    # Legacy servers

    def _join(self, watcher: Watcher, target: Target, part: SubscriptionFilter) -> None:
        """Let the stream of a modern client watch in a conversation with a legacy server."""
        try:
            link = self._relay.link(target, watcher.audience)
        except LocalProtocolError:
            self._granted(watcher, SubscriptionFilter())
            return
        watcher.links.append(link)
        link.watchers.add(watcher)
        uris = part.resource_subscriptions
        watcher.left += len(uris)
        self._granted(watcher, structs.replace(part, resource_subscriptions=[]))
        for uri in uris:
            link.uris.setdefault(uri, set()).add(watcher)
            take = partial(self._joined, watcher, link, uri)
            self._relay.ask(link, _SUBSCRIBE, {"uri": uri}, take)

    def _joined(self, watcher: Watcher, link: UpstreamLink, uri: str, outcome: Outcome) -> None:
        """Take the answer of a legacy server to a subscription for a stream."""
        part = SubscriptionFilter()
        if isinstance(outcome, Raw):
            part = self._outward(link.target, SubscriptionFilter(resource_subscriptions=[uri]))
        else:
            link.uris.get(uri, set()).discard(watcher)
        self._granted(watcher, part)

    def lost(self, link: UpstreamLink) -> None:
        """Watch again, a moment after a conversation with a legacy server has ended."""
        if link.uris or link.watchers:
            delay = self._relay.settings.listen_delay * 2 ** min(link.failures, 6)
            self._relay.deadlines.set(_Return(self, link), self._relay.now + delay)

    def rejoin(self, old: UpstreamLink) -> None:
        """Move the watchers of a conversation that has ended to the next one."""
        relay, target = self._relay, old.target
        try:
            link = relay.link(target, old.audience)
        except LocalProtocolError:
            return
        link.failures = old.failures + 1
        link.watchers |= old.watchers
        for watcher in old.watchers:
            watcher.links = [link if each is old else each for each in watcher.links]
        for uri, watchers in old.uris.items():
            link.uris.setdefault(uri, set()).update(watchers)
        self.restore(link)

    def restore(self, link: UpstreamLink) -> None:
        """Subscribe again at a legacy server; tell the watchers that all may have changed."""
        for watcher in link.watchers:
            for topic in _LIST_CHANGES:
                if getattr(watcher.granted, topic.field):
                    self._announce(watcher, topic.row.name, None)
        for uri, watchers in link.uris.items():
            self._relay.ask(link, _SUBSCRIBE, {"uri": uri}, void)
            body = self._relay.names.outward_in(
                _UPDATED, link.target.name, Raw(to_json({"uri": uri}))
            )
            for watcher in watchers:
                self._announce(watcher, _UPDATED, body)

    def told(self, link: UpstreamLink, event: events.NotificationReceived) -> bool:
        """Pass on a change that a legacy server announces; False for other notifications."""
        method = event.method
        if method not in TOPICS:
            return False
        body = self._body(link.target, method, event.params)
        if body is None:
            return True
        session = self._sessions.get(link.audience.session)
        watchers = link.watchers if session is None else {*link.watchers, session}
        if method == _UPDATED:
            watchers = link.uris.get(_subject_of(event.params).uri, set())
        for watcher in list(watchers):
            self._announce(watcher, method, body)
        return True

    def _body(self, target: Target, method: str, params: Raw) -> Raw | None:
        """Return the params of a change by the clients' names, without the id of a stream."""
        try:
            if META_SUBSCRIPTION_ID.encode() in bytes(params):
                members = _members_of(params)
                meta = _members_of(members.pop("_meta"))
                meta.pop(META_SUBSCRIPTION_ID, None)
                if meta:
                    members["_meta"] = Raw(to_json(meta))
                params = Raw(to_json(members))
            if method == _UPDATED:
                _subject_of(params)
        except (msgspec.MsgspecError, KeyError):
            return None
        return self._relay.names.outward_in(method, target.name, params)

    def _announce(self, watcher: Watcher, method: str, body: Raw | None) -> None:
        if watcher.ended:
            return
        if watcher.key is None:
            where = self._relay.to_session(watcher.audience.session)
            self._relay.downstream.notify(method, body, **where)
        elif not watcher.left:
            self._relay.downstream.notify(method, body, parent=watcher.key)

    # Sessions of legacy clients

    def session_ready(self, session: str, declared: object) -> None:
        """Begin to watch for a legacy client, which hears of changed lists unasked."""
        audience = Audience(None, session)
        if isinstance(declared, ClientCapabilities):
            audience = structs.replace(audience, capabilities=declared)
        lists: dict[str, Any] = {topic.field: True for topic in _LIST_CHANGES}
        watcher = Watcher(audience, None, SubscriptionFilter(**lists))
        self._sessions[session] = watcher
        for target in self._relay.targets.values():
            self._relay.when_known(target, partial(self._watch_lists, watcher, target))

    def _watch_lists(self, watcher: Watcher, target: Target) -> None:
        part = self._part(watcher.filter, target)
        if target.modern and not watcher.ended and part != SubscriptionFilter():
            self._open_stream(Stream(watcher, target, part, parts=self))

    def session_ended(self, session: str) -> None:
        """Stop watching for a session."""
        watcher = self._sessions.pop(session, None)
        if watcher is not None:
            self._leave(watcher)

    def _subscribe(self, event: RequestReceived) -> None:
        """Handle ``resources/subscribe`` or its opposite, which the engine answers if admitted."""
        uri = _subject_of(event.params).uri
        for target in self._relay.targets.values():
            work = partial(self._subscribed, target, event, uri)
            if self._inward(target, uri) is not None:
                self._relay.when_known(target, work)
                return
        data = {"uri": uri}
        error = ErrorData.make(RESOURCE_NOT_FOUND, "resource not found", data)
        self._relay.downstream.fail(event.key, error)

    def _subscribed(self, target: Target, event: RequestReceived, outer: str) -> None:
        relay = self._relay
        uri = self._inward(target, outer)
        if target.greeting is None or uri is None:
            text = f"{target.name}: the server cannot be reached"
            relay.refuse(event.key, INTERNAL_ERROR, text)
            return
        audience = relay.audience_of(event)
        watcher = self._sessions.get(audience.session)
        if watcher is None:
            relay.refuse(event.key, INTERNAL_ERROR, "the session is not open")
            return
        if not target.modern:
            try:
                link = relay.link(target, audience)
            except LocalProtocolError as error:
                relay.refuse(event.key, INTERNAL_ERROR, str(error))
                return
            take = partial(self._answer, event, watcher, link, uri)
            relay.ask(link, event.method, {"uri": uri}, take)
            return
        before = watcher.streams.get(target.name)
        uris = [] if before is None else before.filter.resource_subscriptions
        uris = [each for each in uris if each != uri]
        if event.method == _SUBSCRIBE:
            uris.append(uri)
        part = self._part(watcher.filter, target)
        part = structs.replace(part, resource_subscriptions=uris)
        self._open_stream(
            Stream(watcher, target, part, before=before, keys=[event.key], parts=self)
        )

    def _answer(
        self,
        event: RequestReceived,
        watcher: Watcher,
        link: UpstreamLink,
        uri: str,
        outcome: Outcome,
    ) -> None:
        """Answer a subscription as the legacy server did, and note it for the next conversation."""
        if isinstance(outcome, ErrorData):
            self._relay.downstream.fail(event.key, outcome)
            return
        if event.method == _SUBSCRIBE:
            link.uris.setdefault(uri, set()).add(watcher)
        else:
            link.uris.pop(uri, None)
        self._relay.downstream.admit(event.key)

    # Listen streams of modern servers

    def _open_stream(self, stream: Stream) -> None:
        relay, watcher = self._relay, stream.watcher
        watcher.streams[stream.target.name] = stream
        take = partial(self._stream_over, stream)
        try:
            stream.link = link = relay.link(stream.target, watcher.audience)
        except LocalProtocolError as error:
            take(ErrorData.make(INTERNAL_ERROR, str(error)))
            return
        declared = watcher.audience.capabilities
        filter = {"notifications": stream.filter}
        stream.request = relay.ask(link, _LISTEN, filter, take, capabilities=declared)
        if stream.request is not None:
            link.listens[stream.request] = stream

    def acknowledged(self, link: UpstreamLink, event: events.SubscriptionAcknowledged) -> None:
        """Note what a server will announce; end the stream that this one replaces."""
        stream = link.listens.get(event.request)
        if stream is None or stream.open:
            return
        stream.open, stream.failures = True, 0
        before, stream.before = stream.before, None
        keys = self._take_keys(stream)
        if before is not None:
            keys += self._take_keys(before)
            self._close(before)
        for key in keys:
            self._relay.downstream.admit(key)
        if stream.again:
            self._may_have_changed(stream)
        else:
            self._granted(stream.watcher, self._outward(stream.target, event.filter))

    def _take_keys(self, stream: Stream) -> list[Key]:
        """Take the requests that wait for a stream, and for those that it replaces."""
        keys, stream.keys = stream.keys, []
        return keys if stream.before is None else keys + self._take_keys(stream.before)

    def _may_have_changed(self, stream: Stream) -> None:
        """Announce all that a stream carries, as something may have been missed."""
        for topic in TOPICS.values():
            value = getattr(stream.filter, topic.field)
            if topic.subject is None and value:
                self._announce(stream.watcher, topic.row.name, None)
            for uri in value if topic.subject == "uri" else ():
                outer = self._relay.names.outward(NameKind.URI, stream.target.name, uri)
                body = Raw(to_json({"uri": outer}))
                self._announce(stream.watcher, topic.row.name, body)

    def notified(self, link: UpstreamLink, event: events.SubscriptionNotification) -> None:
        """Pass on a change that a modern server announces."""
        stream = link.listens.get(event.request)
        body = self._body(link.target, event.method, event.params)
        if stream is not None and body is not None:
            self._announce(stream.watcher, event.method, body)

    def _stream_over(self, stream: Stream, outcome: Outcome) -> None:
        """Handle the end of a server's stream: it is opened again unless it never was."""
        if stream.link is not None and stream.request is not None:
            stream.link.listens.pop(stream.request, None)
        stream.link = None
        watcher = stream.watcher
        if watcher.ended or watcher.streams.get(stream.target.name) is not stream:
            return  # the one that replaces it has its requests as well
        if not stream.open and not stream.again:
            error = ErrorData(INTERNAL_ERROR, f"{stream.target.name}: no stream of changes")
            self._stream_failed(stream, outcome if isinstance(outcome, ErrorData) else error)
            return
        self._open_later(stream)

    def _open_later(self, stream: Stream) -> None:
        stream.open, stream.again = False, True
        stream.failures += 1
        delay = self._relay.settings.listen_delay * 2 ** min(stream.failures - 1, 6)
        self._relay.deadlines.set(stream, self._relay.now + delay)

    def reopen(self, stream: Stream) -> None:
        """Open a stream again that was lost."""
        current = stream.watcher.streams.get(stream.target.name)
        if current is stream and stream.link is None and not stream.watcher.ended:
            self._open_stream(stream)

    def _stream_failed(self, stream: Stream, error: ErrorData) -> None:
        """Go on without a stream that a server does not open."""
        watcher = stream.watcher
        before = stream.before
        if before is not None:
            watcher.streams[stream.target.name] = before
            if before.link is None:
                self._open_later(before)
        else:
            watcher.streams.pop(stream.target.name, None)
        for key in self._take_keys(stream):
            self._relay.downstream.fail(key, error)
        self._granted(watcher, SubscriptionFilter())

    def _close(self, stream: Stream) -> None:
        self._relay.deadlines.set(stream, None)
        for key in self._take_keys(stream):
            self._relay.refuse(key, INTERNAL_ERROR, "the session has ended")
        if stream.before is not None:
            self._close(stream.before)
        link, stream.link = stream.link, None
        if link is not None and stream.request is not None:
            link.listens.pop(stream.request, None)
            link.pending.pop(stream.request, None)
            link.peer.cancel(stream.request, now=self._relay.now)


def _union(one: SubscriptionFilter, other: SubscriptionFilter) -> SubscriptionFilter:
    """Return what either filter asks for."""
    fields: dict[str, Any] = {}
    for name in one.__struct_fields__:
        ours, theirs = getattr(one, name), getattr(other, name)
        fields[name] = [*ours, *theirs] if isinstance(ours, list) else ours or theirs
    return SubscriptionFilter(**fields)
