"""Tasks of servers, each for the principal that it was given to.

A server knows one principal, the relay, and cannot tell whose a task is.  The id that a client gets
is therefore sealed, with the server and the id there, for the principal of the client: any relay
with the same seal opens it, and for another principal it is unknown.  A seal differs each time:
this relay remembers the ids that it has seen, so that lists, notices and questions name a task as
its client does.  What it does not remember is left out of them, as it may be of another principal,
or of another session where there are none.

Source: the tasks page of 2025-11-25; the specification of ``io.modelcontextprotocol/tasks``.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from mcpcore.engine.bodies import meta_of, relayable
from mcpcore.engine.events import NotificationReceived
from mcpcore.engine.outbound import TASK
from mcpcore.engine.seal import Binding
from mcpcore.errors import SealBroken
from mcpcore.relay.link import Arrival, Audience, Session, Target, UpstreamLink
from mcpcore.relay.names import text_at
from mcpcore.relay.rewriting import elements_of, encode, members_of, on_text, path, rewrite, text_of
from mcpcore.spec.capabilities import TASKS_EXTENSION
from mcpcore.spec.methods import METHODS
from mcpcore.spec.types.base import META_RELATED_TASK
from mcpcore.wire.jsontext import to_json

if TYPE_CHECKING:  # a type alone: it owns this part
    from mcpcore.relay.relay import Relay

PREFIX = "tasks/"
"""Beginning of the methods that are about tasks."""
_STATUS = "notifications/tasks/status"
_LIST, _RESULT = "tasks/list", "tasks/result"
_ID, _OF_NEW, _KIND = path("taskId"), path("task/taskId"), path("resultType")
_CREATE = frozenset(row.name for row in METHODS if row.task_capability or row.task_extension)
CAPABILITIES = ("tasks", f"extensions.{TASKS_EXTENSION}")
"""Capabilities of servers that have tasks."""

_decode_place = msgspec.msgpack.Decoder(tuple[str, str]).decode
_encode_place = msgspec.msgpack.Encoder().encode

_Key = tuple[str | Session | None, str, str]
"""Owner of an id, the server, and the id there."""
Meta = dict[str, Raw]
Named = Callable[[str], str | None]
"""Function from an id to the one for the other side; None for a task that this may not know."""


class Tasks:
    """Part of a relay that names tasks."""

    def __init__(self, relay: "Relay") -> None:
        self._relay = relay
        self._ids: dict[_Key, str] = {}
        """Ids for clients, by owner, server and the id there; the last used is the last."""
        self._of_sessions: dict[Session, set[_Key]] = {}
        """Keys of the ids that belong to one session, as its client tells no principal."""

    # Single ids

    def opened(self, client: Audience, ids: Iterable[str]) -> dict[tuple[str, str], str]:
        """Return those ids of a client that its principal was given, by server and the id there."""
        found = {self._open(client, outer): outer for outer in ids}
        return {place: outer for place, outer in found.items() if place is not None}

    def _open(self, client: Audience, outer: str) -> tuple[str, str] | None:
        try:
            place = _decode_place(self._unsealed(client.principal, PREFIX, outer))
        except SealBroken:
            return None
        self._note(client, place, outer)
        return place

    def _given(self, client: Audience, server: str, id: str) -> str:
        """Return the id of a new task for its client."""
        outer = self._known(client, server, id)
        if outer is None:
            outer = self._sealed(client.principal, PREFIX, _encode_place((server, id)))
            self._note(client, (server, id), outer)
        return outer

    def _key(self, client: Audience, server: str, id: str) -> _Key:
        """Return the key of an id: without a principal it belongs to the session.

        Sessions that share their conversation share what they are told there, too.
        """
        target = self._relay.targets.get(server)
        shared = target is not None and target.shared
        return client.principal or (None if shared else client.session), server, id

    def _known(self, client: Audience, server: str, id: str) -> str | None:
        return self._ids.get(self._key(client, server, id))

    def _note(self, client: Audience, place: tuple[str, str], outer: str) -> None:
        key = self._key(client, *place)
        self._drop(key)
        if isinstance(session := key[0], tuple):
            if self._relay.subscriptions.has_ended(session):
                return
            self._of_sessions.setdefault(session, set()).add(key)
        self._ids[key] = outer
        if len(self._ids) > self._relay.settings.tasks:
            self._drop(next(iter(self._ids)))

    def _drop(self, key: _Key) -> None:
        if self._ids.pop(key, None) is not None and isinstance(key[0], tuple):
            keys = self._of_sessions[key[0]]
            keys.remove(key)
            if not keys:
                del self._of_sessions[key[0]]

    def session_ended(self, session: Session) -> None:
        """Remember no id for a session any longer."""
        for key in list(self._of_sessions.get(session, ())):
            self._drop(key)

    # A task has no time at which its id ends: the clock of its seals stands still.

    def _sealed(self, principal: str | None, method: str, payload: bytes) -> str:
        binding = Binding(principal or None, method, b"")
        return self._relay.seal.seal(payload, binding, wall=0.0)

    def _unsealed(self, principal: str | None, method: str, text: str) -> bytes:
        binding = Binding(principal or None, method, b"")
        return self._relay.seal.open(text, binding, wall=0.0)

    # From clients to servers

    def inward_in(self, arrival: Arrival) -> tuple[Target | None, Raw]:
        """Return the server that a request about a task is for, None if there is none, and params.

        A server is asked for an id that it has never given if the task is unknown to the client.
        Raises msgspec.MsgspecError for other params than those of the method.
        """
        event, relay = arrival.event, self._relay
        members = members_of(event.params)
        targets = list(relay.targets.values())
        target = targets[0] if len(targets) == 1 else None
        if event.method == _LIST and "cursor" in members:
            try:
                cursor = self._unsealed(event.principal, _LIST, text_of(members["cursor"]))
            except SealBroken:
                raise msgspec.ValidationError("cursor: not a cursor of this list") from None
            members["cursor"] = Raw(encode(cursor.decode()))
        elif "taskId" in members:
            server, id = self._open(arrival.audience, text_of(members["taskId"])) or ("", "")
            if server not in relay.targets:
                id = self._sealed(event.principal, "", b"")
                if target is None:
                    target = next((each for each in targets if each.tasks), None)
            target = relay.targets.get(server, target)
            members["taskId"] = Raw(encode(id))
        return target, Raw(to_json(members))

    def related_inward(self, client: Audience, server: str, meta: Meta) -> Meta:
        """Return the ``_meta`` of a client's message with the server's id of the task in it."""

        def named(outer: str) -> str | None:
            place = self._open(client, outer)
            return None if place is None or place[0] != server else place[1]

        return _related(meta, named)

    def answer_inward(self, link: UpstreamLink, answer: Raw) -> Raw:
        """Return the answer of a client to a legacy server, with the server's id of a task."""
        named = partial(self.related_inward, link.audience, link.target.name)
        return _with_meta(answer, named)

    # From servers to clients

    def outward_in(self, arrival: Arrival, server: str, result: Raw) -> Raw:
        """Return a result with the ids for the client, and of a list the tasks that it knows.

        Raises ValueError for a result about a task of somebody else, msgspec.MsgspecError for one
        of another shape.
        """
        method = arrival.event.method
        tasks = self._relay.targets[server].tasks and b"askId" in bytes(result)
        if method != _LIST and not tasks:
            return result  # without a look into it, if the server has no tasks
        client = arrival.audience
        known = partial(self._known, client, server)
        if method == _LIST:
            return self._listed(client.principal, result, known)
        if method in _CREATE:
            given = partial(self._given, client, server)
            result = rewrite(result, _OF_NEW, on_text(given))
            if text_at(result, _KIND) == TASK:
                result = _renamed(result, given)
        elif method.startswith(PREFIX):
            asked = text_at(arrival.event.params, _ID)
            self.opened(client, [asked] if asked else [])  # it may be forgotten meanwhile
            if method != _RESULT:  # that is one of a tool
                result = _renamed(result, known)
        return _with_meta(result, lambda meta: _related(meta, known))

    def _listed(self, principal: str | None, result: Raw, known: Named) -> Raw:
        members: dict[str, Any] = members_of(result)
        if "tasks" in members:
            tasks = [(each, text_at(each, _ID)) for each in elements_of(members["tasks"])]
            members["tasks"] = [_renamed(each, known) for each, id in tasks if id and known(id)]
        if "nextCursor" in members:  # it may contain the id of any task
            cursor = text_of(members["nextCursor"]).encode()
            members["nextCursor"] = self._sealed(principal, _LIST, cursor)
        return Raw(to_json(members))

    def related_outward(self, link: UpstreamLink, meta: Meta) -> Meta:
        """Return the ``_meta`` of a legacy server's message with the client's id of the task."""
        return _related(meta, partial(self._known, link.audience, link.target.name))

    def notice_outward(
        self, link: UpstreamLink, event: NotificationReceived
    ) -> tuple[Raw, Meta] | None:
        """Return params and ``_meta`` of a legacy notice; None if it is of an unknown task."""
        body, meta = relayable(event.params)
        if event.method == _STATUS:
            known = partial(self._known, link.audience, link.target.name)
            try:
                body = _renamed(body, known)
            except (ValueError, msgspec.MsgspecError):
                return None
        return body, self.related_outward(link, meta)


def _renamed(body: Raw, named: Named) -> Raw:
    """Return a task with its other id.  Raises ValueError if there is none."""
    id = text_at(body, _ID)
    if id is None:
        return body
    other = named(id)
    if other is None:
        raise ValueError("it is about a task of somebody else")
    return Raw(to_json({**members_of(body), "taskId": other}))


def _related(meta: Meta, named: Named) -> Meta:
    """Return ``_meta`` with the other id of the task that it names, if there is one."""
    if META_RELATED_TASK not in meta:
        return meta
    kept = dict(meta)
    task = kept.pop(META_RELATED_TASK)
    with suppress(ValueError, msgspec.MsgspecError):
        kept[META_RELATED_TASK] = _renamed(task, named)
    return kept


def _with_meta(body: Raw, change: Callable[[Meta], Meta]) -> Raw:
    """Return a body with the ``_meta`` changed if it names a task."""
    text = bytes(body)
    if b"related-task" not in text and b"\\u" not in text:  # an escape could hide it
        return body
    members = members_of(body)
    if "_meta" not in members:
        return body
    return Raw(to_json({**members, "_meta": change(meta_of(members["_meta"]))}))
