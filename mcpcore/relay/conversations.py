"""Conversations of a relay with its servers: opened, shared, lost; the era that each server speaks.

A server tells its era in the first conversation; a server of both eras tells in another one what it
declares to legacy clients.  Work for a server whose era is not known waits here.

Sources: the versioning page of 2026-07-28, "Backward Compatibility with Initialization-Based
Versions"; the lifecycle page of 2025-11-25.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from functools import partial
from itertools import product, starmap
from typing import TYPE_CHECKING, Any

import msgspec

from mcpcore.engine import events
from mcpcore.engine.events import EndReason, Fault
from mcpcore.engine.negotiation import discovered
from mcpcore.relay.cells import refuses_handshake, tells_other_era
from mcpcore.relay.link import (
    Arrival,
    Audience,
    Delayed,
    Outcome,
    ReplicaSet,
    Session,
    Target,
    UpstreamLink,
    void,
)
from mcpcore.relay.rewriting import encode
from mcpcore.relay.tasks import CAPABILITIES
from mcpcore.spec.errors import ErrorData, LocalProtocolError
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.lifecycle import DiscoverResult

if TYPE_CHECKING:  # a type alone: it owns this part
    from mcpcore.relay.relay import Relay

_ANYBODY = Audience()
LOOKS = 5.0
"""Minimum seconds before a modern server is asked again what it declares."""
_TRUSTED = 5.0
"""Seconds after a new negotiation for which answers give no reason for another."""


class Conversations:
    """Part of a relay that has the conversations with its servers."""

    def __init__(self, relay: "Relay", targets: Iterable[Target]) -> None:
        self._relay = relay
        self._links: dict[Session | None, dict[tuple[Any, ...], UpstreamLink]] = {}
        """Conversations by session, then by server, principal and capabilities."""
        self._looks = {each.name: Delayed(partial(self._look_if_used, each)) for each in targets}
        """Work that is due when what a modern server declares is old, by its name."""

    def open(self, target: Target, principal: str | None = None) -> None:
        """Open the conversation that tells the era of a server, for clients for which none has.

        ``principal``: the one in whose name, at a server where its clients sign in.
        """
        if target.desk is not None and not target.desk.signed_in(principal):
            return
        whose = None if target.desk is None else principal
        for client in target.openings:
            if target.greeted(client) is None:
                try:
                    self.link(target, Audience(whose, revision=client)).open()
                except LocalProtocolError as error:  # one that is open already may tell it
                    target.fault = str(error)

    def _is_asked(self, target: Target, client: Revision) -> bool:
        """Return True if a conversation is about to tell the era for clients of a revision."""
        links = (link for each in self._links.values() for link in each.values())
        spoken = target.spoken(client)
        return any(
            each.target is target and each.audience.revision is spoken and not each.greeted
            for each in links
        )

    def probe(self, target: Target, replica: str, method: str) -> None:
        """Ask a replica of a known server for a sign of life, which its guard hears of."""
        if target.greeting is not None:
            self._relay.ask(self.link(target, Audience(), replica=replica), method, {}, void)

    def link(
        self,
        target: Target,
        audience: Audience,
        without: Collection[str] = (),
        replica: str = "",
    ) -> UpstreamLink:
        """Return the conversation with ``target`` for an audience.

        ``Target.shared`` tells who shares it.  ``replica``: the one that it is to be with, for a
        probe, for which there is always room; ``without``: those that it is not to be with.  Raises
        LocalProtocolError if there are too many.
        """
        client, probe, principal = audience.revision, bool(replica), audience.principal
        if target.personal and not probe:  # that is in the name of the gateway itself
            principal = principal or ""
        known, modern = target.greeted(client) is not None, target.modern_for(client)
        spread, revision = modern and target.shared is not False, target.spoken(client)
        if not known:
            audience = Audience(audience.principal if target.desk else None, revision=revision)
        elif spread:
            audience = Audience(principal) if target.personal else _ANYBODY
        else:
            shared = target.shared or not self._relay.subscriptions.lasts(audience.session)
            session = None if shared else audience.session
            audience = Audience(principal, session, audience.capabilities, revision)
        party = target.party(audience.principal)
        declared = encode(audience.capabilities)
        place: tuple[Any, ...] = target.name, *party, declared, audience.revision.name
        if target.replicas is not None:
            links = {} if spread else self._links.get(audience.session, {})
            replica = replica or self._replica(target, target.replicas, links, place, without)
            place = *place, replica
            if probe and not spread:  # none of clients, which stays where it is
                place = *place, probe
        alone = target.shared is False and known and not modern
        if alone and audience.session is None:  # modern clients share none with an open call
            place = *place, self._free(place)
        link = self._links.get(audience.session, {}).get(place)
        if link is None:
            common = probe or audience == _ANYBODY or not (known or target.desk)
            if target.links >= self._relay.settings.links and not common:
                raise LocalProtocolError(f"{target.name}: too many conversations are open")
            if audience.session is None and known and not probe:
                self._make_way(target, audience.principal, replica)
            link = UpstreamLink(target, audience, place, self._relay.used, replica)
            self._links.setdefault(audience.session, {})[place] = link
            self._relay.deadlines.set(link, self._relay.now + self._relay.settings.link_idle)
            target.links += 1
        return link

    def _replica(
        self,
        target: Target,
        replicas: ReplicaSet,
        links: Mapping[tuple[Any, ...], UpstreamLink],
        place: tuple[Any, ...],
        without: Collection[str],
    ) -> str:
        """Return the replica for a request: that of one of the ``links``, if they stay at one."""
        for name in replicas.names:
            link = links.get((*place, name))
            if link is not None and name in without:
                self._leave(link, "the replica cannot be reached")
                return self._replica(target, replicas, links, place, without)
            if link is not None:
                return name
        avoided = {*without, *target.gone}
        reached = any(name not in avoided for name in replicas.names)
        return replicas.choose(self._relay.now, avoided if reached else without)

    def _make_way(self, target: Target, principal: str | None, replica: str) -> None:
        """Close a conversation of a principal with a replica if it has as many as it may."""
        links, whose = self._links.get(None, {}).values(), (target, principal, replica)
        own = [
            each for each in links if (each.target, each.audience.principal, each.replica) == whose
        ]
        if len(own) < self._relay.settings.links_per_principal:
            return
        unused = [each for each in own if each.idle]
        if not unused:
            text = f"{target.name}: too many conversations of one principal are open"
            raise LocalProtocolError(text)
        self.close(min(unused, key=lambda each: each.used_at))

    def _free(self, place: tuple[Any, ...]) -> int:
        """Return the number of a conversation at a place that has no open call, or of a new one."""
        links, number = self._links.get(None, {}), 0
        while (link := links.get((*place, number))) is not None and not link.free(self._relay.now):
            number += 1
        return number

    def links_of(self, session: Session) -> list[UpstreamLink]:
        """Return the conversations with legacy servers that belong to a session."""
        return [link for link in self._links.get(session, {}).values() if not link.modern]

    def close_unused(self, link: UpstreamLink) -> None:
        """Close a conversation that nothing has needed for long; look again later at any other.

        A session needs its own until it ends, as its server may keep state for it.
        """
        needed = not link.idle or link.audience.session in self._relay.subscriptions.sessions
        due = (self._relay.now if needed else link.used_at) + self._relay.settings.link_idle
        if due > self._relay.now:
            self._relay.deadlines.set(link, due)
        else:
            self.close(link)

    def close(self, link: UpstreamLink) -> None:
        """Close a conversation; what it has open ends by its events."""
        self._forget(link)
        if link.machine is not None:
            link.close(self._relay.now)

    def _forget(self, link: UpstreamLink) -> None:
        target = link.target
        target.links -= 1
        target.open_links[link.replica] -= link.greeted
        link.ended = True
        self._relay.deadlines.set(link, None)
        of_session = self._links[link.audience.session]
        del of_session[link.place]
        if not of_session:
            del self._links[link.audience.session]

    def greeted(self, link: UpstreamLink, event: events.Ready) -> None:
        """Take the outcome of a negotiation."""
        target, again = link.target, link.greeted
        if link.ended:
            return
        known = target.greeted(link.audience.revision)
        if known is not None and known.revision.modern != event.revision.modern:
            self.negotiate_again(link.target, link.audience.principal)
            return
        if link.audience.revision in target.openings:  # others declare less
            if known is not None and known.capabilities != event.capabilities:
                self._relay.lists.forget(target)
            if known is not None and target.personal and link.audience.principal is not None:
                told = {"info": known.info, "instructions": known.instructions}
                event = msgspec.structs.replace(event, **told)  # those of one client are no other's
            self._introduced(target, event)
        link.greeted = True
        target.open_links[link.replica] += not again
        if again:  # in place of a session that was lost
            level, link.level = link.level, None
            self._relay.set_level(link, level)
        self._relay.subscriptions.greeted(link, again)
        target.gone.discard(link.replica)
        if target.late or link.is_away:
            self.came_back(link)
        self._open_for_all(target, link.audience.principal)

    def _introduced(self, target: Target, event: events.Ready) -> None:
        if event.info is not None:  # clients of a single server hear it: no endpoint takes others
            event = msgspec.structs.replace(event, info=event.info.without_unsafe_icons())
        if target.greeting is None:
            offered = (each for each in target.handshakes if each.name in event.supported)
            target.legacy = tuple(sorted(offered, key=lambda each: each.position))
        if target.legacy and not event.revision.modern:
            target.handshake = event
        else:
            target.greeting = event
        target.tasks = any(starmap(target.offers, product(CAPABILITIES, target.openings)))
        self._relay.declared()
        if event.revision.modern:
            target.told_at = self._relay.now
            due = self._relay.now + max((event.ttl_ms or 0) / 1000, LOOKS)
            self._relay.deadlines.set(self._looks[target.name], due)

    def _shared_links(self, target: Target) -> list[UpstreamLink]:
        links = [each for each in self._links.get(None, {}).values() if each.modern]
        return [each for each in links if each.target is target and not each.audience.principal]

    def _look_if_used(self, target: Target) -> None:
        """Ask a modern server what it declares, if it was used since."""
        if any(each.used_at > target.told_at for each in self._shared_links(target)):
            self.look(target)

    def look_if_due(self, target: Target, client: Revision) -> None:
        """Ask a modern server what it declares, if that was put off until it is used."""
        if target.modern_for(client) and self._looks[target.name].deadline is None:
            self.look(target)

    def look(self, target: Target) -> None:
        """Ask a modern server anew what it declares."""
        if not target.modern:
            return
        target.told_at = self._relay.now
        self._relay.deadlines.set(self._looks[target.name], self._relay.now + LOOKS)
        link = next((each for each in self._shared_links(target) if each.greeted), None)
        if link is not None:
            self._relay.ask(link, "server/discover", {}, partial(self._looked, target))

    def _looked(self, target: Target, outcome: Outcome) -> None:
        """Take what a modern server declares now."""
        target.told_at, before = self._relay.now, target.greeting
        if before is None or not target.modern or isinstance(outcome, ErrorData):
            return
        with suppress(msgspec.MsgspecError):
            found = msgspec.json.decode(outcome, type=DiscoverResult)
            self._introduced(target, discovered(before.revision, found))
            if found.capabilities != before.capabilities:
                self._lists_changed(target)

    def _open_for_all(self, target: Target, principal: str | None) -> None:
        """Ask for the era for clients for which it is not known; do what waits for no more."""
        self.open(target, principal)
        # Nobody asks in the name of a principal that has signed out meanwhile.
        self._go_ahead(target, lost=self._relay.sign_ins.lacks(target, principal))

    def _go_ahead(self, target: Target, *, lost: bool = False) -> None:
        """Carry out the work that waits for the era of a server, if that is known or ``lost``.

        It is also lost where there is no room for a conversation that would tell it.
        """
        waiting, target.waiting = target.waiting, []
        failed = list[Exception]()
        for client, work in waiting:
            known = target.greeted(client) is not None
            if lost or known or not self._is_asked(target, client):
                try:
                    work()
                except Exception as error:  # others wait all the same
                    failed.append(error)
            else:
                target.waiting.append((client, work))
        if failed:
            raise failed[0]

    def speaks_otherwise(self, link: UpstreamLink, error: ErrorData | None, opening: bool) -> bool:
        """Return True if an error tells that a server speaks another era than is known."""
        target = link.target
        known = target.greeted(link.audience.revision)
        if error is None or known is None or self._relay.now < target.trusted_from:
            return False
        return tells_other_era(error, modern=link.modern, opening=opening)

    def negotiate_again(self, target: Target, principal: str | None = None) -> None:
        """Forget the era of a server and end what is open there; a new conversation tells it.

        ``principal``: the one whose conversation has shown that it is another one.
        """
        target.greeting = target.handshake = None
        target.legacy, target.trusted_from = (), self._relay.now + _TRUSTED
        self.went_away(target)
        links = [link for each in self._links.values() for link in each.values()]
        for link in links:
            if link.target is target and not link.ended:
                self._leave(link, "the server speaks another revision now")
        self._open_for_all(target, principal)

    def _leave(self, link: UpstreamLink, reason: str) -> None:
        """Close a conversation, and end what is open there."""
        self.close(link)
        self._end_all(link, EndReason.CLOSED, reason)
        self._relay.subscriptions.listens.lost(link)

    def _end_all(
        self, link: UpstreamLink, reason: EndReason, told: str, fault: Fault | None = None
    ) -> None:
        """End the requests of a conversation that has ended."""
        self._relay.questions.lost(link)
        for id in [*link.calls, *link.pending]:  # of those once open, calls that waited for input
            end = events.RequestEnded(
                request=id, method="", reason=reason, message=told, fault=fault
            )
            self._relay.ended(link, end)

    def lost(
        self, link: UpstreamLink, event: events.NegotiationFailed | events.ConnectionEnded
    ) -> None:
        """Forget a conversation that has ended, once its requests have."""
        if link.ended:
            return
        if isinstance(event, events.NegotiationFailed):
            told, reason, fault = event.message, EndReason.REFUSED, event.fault
            if not link.refused and self.speaks_otherwise(link, event.error, True):
                unsent = [] if link.greeted else [*link.calls.values()]
                for call in unsent:
                    del link.calls[call.request]
                self.negotiate_again(link.target, link.audience.principal)
                for call in unsent:
                    self._relay.send_again(call)
                return
        else:
            told, reason, fault = event.reason, EndReason.CLOSED, None
        self._forget(link)
        target = link.target
        opening = target.greeted(link.audience.revision) is None
        if not link.refused:
            target.fault = told
            there = reason is EndReason.REFUSED or any(target.open_links.values())
            if opening and there and refuses_handshake(fault):
                target.legacy = ()
        self._end_all(link, reason, told, fault)
        if not link.refused and not target.open_links[link.replica]:
            self.missed(link)
        elsewhere = opening and target.replicas is not None and target.away is None
        if elsewhere and not link.refused:
            self.open(target)
            opening = False  # what waits goes on to wait
        self._go_ahead(target, lost=opening)  # each finds out that the server does not answer
        self._relay.subscriptions.listens.lost(link)

    def missed(self, link: UpstreamLink) -> None:
        """Note that a replica cannot be reached: the server is away if none can."""
        link.target.gone.add(link.replica)
        if len(link.target.gone) >= len(link.target.replica_names):
            self.went_away(link.target)

    def went_away(self, which: Target | UpstreamLink) -> None:
        """Note that a server is away, or that lists wait in vain for it in one conversation.

        It may come back.
        """
        target = which if isinstance(which, Target) else which.target
        if which.away is None:
            which.away = since = self._relay.now

            def gone() -> None:
                if which.away == since:
                    self._lists_changed(target)

            self._relay.later(self._relay.settings.grace, gone)

    def came_back(self, link: UpstreamLink) -> None:
        """Note that a server answers again."""
        link.target.away, link.target.late, link.away = None, False, None
        self._lists_changed(link.target)

    def _lists_changed(self, target: Target) -> None:
        self._relay.lists.forget(target)
        self._relay.subscriptions.lists_changed(target)

    def when_known(
        self,
        target: Target,
        client: Revision,
        work: Callable[[], None],
        arrival: Arrival | None = None,
        *,
        within: float | None = None,
        principal: str | None = None,
    ) -> None:
        """Do ``work`` once the era of a server for clients of a revision is known or lost.

        ``arrival``: request that it is for, unless that is cancelled; ``within``: seconds after
        which it is done all the same, at once if that was in vain before; ``principal``: the one
        that needs it, where there is no request.
        """
        principal = principal if arrival is None else arrival.event.principal
        if target.greeted(client) is not None:
            self.look_if_due(target, client)
            work()
            return
        if self._relay.sign_ins.lacks(target, principal):  # it may have signed out meanwhile
            work()
            return
        if arrival is not None:
            work = self._relay.hold(arrival, work)

        def late() -> None:
            if place in target.waiting:
                target.waiting.remove(place)
                target.late = True
                work()

        self.open(target, principal)
        if (within is not None and target.late) or not self._is_asked(target, client):
            work()
            return
        place = client, work
        target.waiting.append(place)
        if within is not None:
            self._relay.later(within, late)

    def session_ended(self, session: Session) -> None:
        """Close the conversations of a session."""
        for link in list(self._links.get(session, {}).values()):
            self.close(link)
