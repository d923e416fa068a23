"""What a check remembers of a trace: conversations, their requests, and what was found."""

from collections import deque
from collections.abc import Hashable
from typing import Any, TypeVar

import msgspec
from msgspec import Struct, field

from mcpcore.spec.methods import Method, lookup
from mcpcore.spec.revisions import BY_NAME, Revision
from mcpcore.spec.types.base import META_PROTOCOL_VERSION
from mcpcore.spec.types.capabilities import ClientCapabilities, ServerCapabilities
from mcpcore.trace.format import TO_SERVER, Direction
from mcpcore_conformance.trace.dialogue import Exchange, Said
from mcpcore_conformance.trace.rules import RULES

KEPT = 10_000
"""Settled requests that a check remembers, of all conversations together."""
_KEPT_CHARACTERS = 1 << 26
"""Those of their messages."""
_NAMES = 100_000
"""Ids of requests and of events, and states, that it remembers of a conversation, and its
conversations."""


K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(dict[K, V]):
    """Dictionary that forgets its oldest entry beyond 100,000, so that a check may run for ever."""

    forgetful = False
    """True once it has forgotten something."""

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        if len(self) > _NAMES:
            del self[next(iter(self))]
            self.forgetful = True


class Finding(Struct, frozen=True, rename="camel"):
    """A rule that was broken."""

    line: int
    """Of the trace."""
    rule: str
    clause: str
    strength: str
    side: str
    """Who broke it."""
    detail: str
    requirement: str = ""
    revision: str = ""


class Asked(Struct):
    """A request."""

    said: Said
    sender: str
    revision: Revision | None
    row: Method | None
    token: Any = None
    """Its progress token."""
    progress: float | None = None
    answered: int = 0
    """The line of its answer, 0 before it came."""
    cancelled: int = 0
    """The line of its cancellation."""
    beside: int = 0
    """Requests with the same id that had no answer when it was asked."""
    acknowledged: dict[str, Any] | None = None
    """The filter of a listen stream."""
    refused: bool = False
    """HTTP has refused it for want of authorization: it may be sent again as it was."""
    keeps_token: bool = False
    """It has become a task, which goes on reporting."""


class Conversation(Struct):
    """One client and one server."""

    key: Hashable
    http: bool = False
    loose: bool = False
    """What came before it is not known: a single exchange without a session."""
    revision: Revision | None = None
    """Agreed by handshake."""
    initialize: Asked | None = None
    initialized: int = 0
    blind: bool = False
    """Some of its messages were cut, so that what is unknown may have been said."""
    requests: dict[tuple[str, str], Asked] = field(default_factory=dict)
    """By sender and id: the last of each."""
    open: dict[tuple[str, str], Asked] = field(default_factory=dict)
    """Those of them that have no answer yet."""
    tokens: dict[tuple[str, str], Asked] = field(default_factory=dict)
    """By sender and progress token: the last of each."""
    reports: Recent[tuple[str, str], float | None] = field(default_factory=Recent)
    """Last progress of the tasks whose requests are forgotten, by sender and progress token."""
    used: Recent[tuple[str, str], None] = field(default_factory=Recent)
    client: ClientCapabilities | None = None
    server: ServerCapabilities | None = None
    unreadable: dict[str, int] = field(default_factory=dict)
    """By sender: messages whose id could not be read, each of which may get an error without."""
    last: dict[str, Said] = field(default_factory=dict)
    """By sender: what it said last."""
    states: Recent[bytes, tuple[str, int]] = field(default_factory=Recent)
    """Method and line of requests that were told to come again, by the digest of their state."""
    tools: dict[str, dict[str, tuple[str, ...]]] = field(default_factory=dict)
    """Mirrored arguments by tool."""
    apps: set[str] = field(default_factory=set)
    """URIs of the apps of tools."""
    event_ids: Recent[str, int] = field(default_factory=Recent)
    """The line of each event id."""
    session: str = ""
    """The session id, as the trace has it."""
    mismatches: Recent[tuple[Hashable, int], None] = field(default_factory=Recent)
    """Exchanges whose headers contradict the body."""
    piped: bool = False
    """It goes over HTTP+SSE."""
    lost: int = 0
    """The line of the 404 after which it has to begin anew."""
    lost_at: float = 0.0

    def waiting(self, sender: str) -> list[Asked]:
        """The requests of one side that have no answer yet."""
        return [asked for (who, _), asked in self.open.items() if who == sender]

    def add(self, asked: Asked) -> None:
        """Another request."""
        key = (asked.sender, id_key(asked.said.id))
        if key in self.open:
            asked.beside = self.open[key].beside + 1
        self.requests[key] = self.open[key] = asked

    def close(self, asked: Asked) -> None:
        """Nothing is to be answered any more."""
        key = (asked.sender, id_key(asked.said.id))
        if self.open.get(key) is asked:
            del self.open[key]

    def forget(self, asked: Asked) -> None:
        """Drop a settled request, but for the progress of what it has become."""
        self.close(asked)
        key = (asked.sender, id_key(asked.said.id))
        if self.requests.get(key) is asked:
            del self.requests[key]
        token = (asked.sender, id_key(asked.token))
        if self.tokens.get(token) is asked:
            del self.tokens[token]
            if asked.keeps_token:
                self.reports[token] = asked.progress


class Book:
    """The state of one check."""

    def __init__(self, side: str, kept: int = KEPT) -> None:
        self.side = side
        """Who recorded."""
        self._kept = kept
        self.unserved = 0
        """The line of the first 404 to a GET that lost a session; 0 once a GET has got a stream."""
        self.findings: list[Finding] = []
        self._conversations: Recent[Hashable, Conversation] = Recent()
        self._settled: deque[tuple[Conversation, Asked]] = deque()
        self._characters = 0
        self._blind = False

    def go_blind(self) -> None:
        """Something was said that the trace does not have."""
        if self._blind:
            return
        self._blind = True
        for talk in self._conversations.values():
            talk.blind = True

    def conversation(self, said: Said) -> Conversation:
        """The conversation of a message."""
        return self.open(said.key, said.exchange)

    def open(self, key: Hashable, exchange: Exchange | None) -> Conversation:
        """The conversation that has a key."""
        found = self._conversations.get(key)
        if found is None:
            found = self._conversations[key] = Conversation(
                key, http=exchange is not None, blind=self._blind
            )
        found.loose = exchange is not None and exchange.alone and not found.session
        return found

    def answer(self, talk: Conversation, asked: Asked, line: int) -> None:
        """A request is answered in a line."""
        asked.answered = line
        talk.close(asked)
        self._settle(talk, asked)

    def cancel(self, talk: Conversation, asked: Asked, line: int) -> None:
        """A request is cancelled in a line; it may be answered nevertheless."""
        asked.cancelled = line
        self._settle(talk, asked)

    def refuse(self, talk: Conversation, said: Said) -> None:
        """A request of the client is refused for want of authorization."""
        asked = talk.requests.get(("client", id_key(said.id)))
        if asked is not None and asked.said is said:
            asked.refused = True
            talk.close(asked)
            self._settle(talk, asked)

    def _settle(self, talk: Conversation, asked: Asked) -> None:
        self._settled.append((talk, asked))
        self._characters += len(asked.said.record.text or "")
        while len(self._settled) > self._kept or self._characters > _KEPT_CHARACTERS:
            earlier, oldest = self._settled.popleft()
            self._characters -= len(oldest.said.record.text or "")
            earlier.forget(oldest)

    def end(self, exchange: Exchange) -> None:
        """An exchange has ended: a conversation that was nothing else has, too."""
        exchange.asked.clear()
        exchange.told.clear()
        talk = self._conversations.get(exchange.key)
        if talk is not None and talk.loose:
            del self._conversations[exchange.key]

    def find(
        self,
        rule: str,
        line: int,
        side: str,
        detail: str,
        revision: Revision | None = None,
        clause: str = "",
    ) -> None:
        """Note that a rule was broken, if it is one of the revision."""
        verdict = RULES[rule].verdict(revision)
        if verdict is None:
            return
        self.findings.append(
            Finding(
                line,
                rule,
                clause or verdict.clause,
                verdict.strength,
                side,
                detail,
                verdict.requirement,
                "" if revision is None else revision.name,
            )
        )


def sender_of(direction: Direction) -> str:
    """Who speaks in a direction."""
    return "client" if direction == TO_SERVER else "server"


def other(sender: str) -> str:
    """The other side."""
    return "server" if sender == "client" else "client"


def id_key(value: Any) -> str:
    """Ids by type and value: 7 and "7" are two."""
    return msgspec.json.encode(value).decode()


def named_revision(said: Said) -> Revision | None:
    """The revision that a message names itself in ``_meta``."""
    name = said.meta.get(META_PROTOCOL_VERSION)
    return BY_NAME.get(name) if isinstance(name, str) else None


def is_modern(said: Said, talk: Conversation) -> bool:
    """Whether a request or notification of a client belongs to the era without sessions."""
    if META_PROTOCOL_VERSION in said.meta:
        return True
    head = said.exchange.request if said.exchange else None
    claimed = BY_NAME.get(head.get("mcp-protocol-version") or "") if head else None
    if claimed is not None and claimed.modern:
        return True
    if talk.initialize is not None or said.method == "initialize":
        return False
    method = said.method
    legacy = any(lookup(method, "client", row) for row in BY_NAME.values() if row.handshake)
    modern = any(lookup(method, "client", row) for row in BY_NAME.values() if row.modern)
    return modern and not legacy
