"""Record of one side of a conversation, to find messages of the program that nobody asked for.

The kit says wrong things on purpose; what may be an answer to one of those is never held against
anybody.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from msgspec import UNSET

from mcpcore.spec.methods import KNOWN_METHODS, Method, MethodKind, lookup
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.base import META_LOG_LEVEL
from mcpcore_conformance.kit.messages import Kind, Message, is_id
from mcpcore_conformance.kit.shapes import SUBSCRIPTION, params_problem

SAFE = 2**53
"""Integers of this size and beyond need not come back as they were."""
_ID = re.compile(rb'"id"\s*:\s*(-?\d+|"[^"\\]*")')
_UPDATED = "notifications/resources/updated"
_LISTEN = "subscriptions/listen"
_ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
_CHANGES = {
    "notifications/tools/list_changed": "toolsListChanged",
    "notifications/resources/list_changed": "resourcesListChanged",
    "notifications/prompts/list_changed": "promptsListChanged",
    _UPDATED: "resourceSubscriptions",
}
"""Notification to the field of a subscription that asks for it."""


class Unasked(StrEnum):
    """Ways to say what nobody has asked for, or not so."""

    TWICE = "a second answer to one request"
    UNKNOWN = "an answer to no request"
    NAMELESS = "an error without an id, and nothing was unreadable"
    UNDECLARED = "a notification that was not declared"
    LOGGED = "a log message of who has not declared that it logs"
    ASKED = "a request for what was not declared"
    FOREIGN = "a message that the revision does not have, or not from that side"
    SUBSCRIBED = "a change that nobody wants to hear of"
    PROGRESS = "progress of no request"
    LATE = "progress of a request that was answered"
    CANCELLED = "a cancellation of no request"
    INITIALIZE = "a cancellation of initialize"
    AGAIN = "an id for a second request"
    MISSHAPEN = "a notification whose params are not those of its method"
    BACKWARDS = "progress that does not grow"
    UNLEVELLED = "a log message that no request has asked for"
    EARLY = "a change before the subscription to it is acknowledged"
    UNNAMED = "a notification of a subscription that does not name it"
    OTHERWISE = "a change of a kind that the subscription has not asked for"


class Account:
    """Follows one conversation; ``side`` is that of the program: ``server`` or ``client``.

    ``found`` has the first message of each way, as a sentence.  It goes with a conversation from
    case to case.
    """

    def __init__(self, side: str, revision: Revision, *, blind: bool = False) -> None:
        self.side = side
        self.other = "client" if side == "server" else "server"
        self.revision = revision
        self.found: dict[Unasked, str] = {}
        self.blind = blind
        """True if more may have been said than is known."""
        self._asked: Counter[object] = Counter()
        """Number of times that each id was given to the program, and so of answers to come."""
        self._answered: Counter[tuple[object, int]] = Counter()
        """By id, and HTTP exchange: a stream that is resumed says things again."""
        self._methods: dict[object, str] = {}
        self._tokens: dict[object, object] = {}
        """The ids of requests by their progress tokens."""
        self._lasting: set[object] = set()
        """Tokens of requests that have become tasks, which go on reporting."""
        self._own: dict[object, str] = {}
        """The program's requests by their ids."""
        self._capabilities: dict[str, Mapping[str, Any] | None] = {}
        """Capabilities that each side has declared, if they are known."""
        self._initializing: object = UNSET
        self._wanted = False
        """True if the program was asked to report changes."""
        self._reached: dict[tuple[object, int], float] = {}
        """Progress by token, and where it came: a stream that is resumed says it again."""
        self._reused: set[object] = set()
        """Tokens of two requests that may run at a time."""
        self._levels: set[object] = set()
        """The ids of requests with a log level, and perhaps without an answer."""
        self._subscriptions: dict[object, Mapping[str, Any]] = {}
        """Filters by the ids of the requests that opened them."""
        self._acknowledged: set[object] = set()

    @property
    def judges(self) -> bool:
        """True if every unasked message would be found."""
        return not (self.blind or self._wanted)

    def gave(self, token: Any) -> bool:
        """Return True if a request of the conversation had that token for its progress."""
        return _key(token) in self._tokens

    # What the program is told

    def said(self, value: Any) -> None:
        """The kit says something: a message, or bytes that need not be one."""
        if isinstance(value, bytes):
            self.blind = True
            try:
                self.said(json.loads(value))
            except (ValueError, RecursionError):
                self._may_be_read(value)
        elif isinstance(value, list):
            for each in value:
                self.said(each)
        elif isinstance(value, dict):
            self._said(value)

    def settle(self) -> None:
        """Nothing is under way: to what was answered, nothing more is to come."""
        for (key, _), times in self._answered.items():
            self._asked[key] = times

    def _may_be_read(self, data: bytes) -> None:
        for found in _ID.findall(data):
            text = found.decode("utf-8", "replace")
            self._asked[_key(text[1:-1] if text[0] == '"' else int(text[:20]))] += 1

    def _said(self, value: dict[str, Any]) -> None:
        method, params = value.get("method"), value.get("params")
        params = params if isinstance(params, dict) else {}
        if "id" in value:
            id = value["id"]
            odd = not is_id(id) or (isinstance(id, int) and abs(id) >= SAFE)
            self.blind |= odd
            answers = "method" not in value and _key(id) in self._own
            self._asked[_key(id)] += not answers
            if isinstance(method, str):
                self._methods[_key(id)] = method
            elif _key(id) == self._initializing and isinstance(value.get("result"), dict):
                self._declares(self.other, value["result"].get("capabilities"))
        meta = params.get("_meta")
        if isinstance(meta, dict) and "progressToken" in meta:
            self._takes(_key(meta["progressToken"]), _key(value.get("id")))
        if isinstance(meta, dict) and META_LOG_LEVEL in meta:
            self._levels.add(_key(value.get("id")))
        if method == "initialize":
            again = self._initializing is not UNSET
            self._initializing = _key(value.get("id"))
            self._declares(self.other, None if again else params.get("capabilities"))
            self.blind |= again
        elif method in ("resources/subscribe", _LISTEN):
            self._wanted = True
            if method == _LISTEN and is_id(value.get("id")):
                self._listens(_key(value["id"]), params.get("notifications"))

    def _takes(self, token: object, id: object) -> None:
        before = self._tokens.get(token)
        if before is not None and not self._over(before):
            self._reused.add(token)
        self._tokens[token] = id
        self._reached = {place: at for place, at in self._reached.items() if place[0] != token}

    def _listens(self, id: object, wanted: Any) -> None:
        if id in self._subscriptions:  # what is left of the first may still come
            self._acknowledged.add(id)
        self._subscriptions[id] = wanted if isinstance(wanted, dict) else {}

    def _over(self, id: object) -> bool:
        """Return True if a request was answered as often as it was made."""
        return sum(n for (each, _), n in self._answered.items() if each == id) >= self._asked[id]

    def _declares(self, who: str, capabilities: Any) -> None:
        self._capabilities[who] = capabilities if isinstance(capabilities, dict) else None

    # What it says

    def heard(self, message: Message) -> bool:
        """The program says something; returns whether it is an answer more than can be expected."""
        if message.kind in (Kind.RESULT, Kind.ERROR):
            if is_id(message.id):
                return self._answer(message)
            if not message.source.exchange:  # over HTTP it may be about what carried a message
                self._find(Unasked.NAMELESS, f"nothing was unreadable, and {message.value} came")
            return False
        if message.kind is Kind.REQUEST:
            self._request(message)
        elif message.kind is Kind.NOTIFICATION:
            self._notification(message)
        return False

    def _find(self, how: Unasked, text: str) -> None:
        if not self.blind:
            self.found.setdefault(how, text)

    def _answer(self, message: Message) -> bool:
        key, kind = _key(message.id), message.kind
        what = self._methods.get(key, "")
        if key not in self._asked:
            self._find(Unasked.UNKNOWN, f"the {kind} {message.value} answers no request")
            return False
        here = self._here(key, message)
        self._answered[here] += 1
        if self._answered[here] > self._asked[key]:
            text = f"{what} with the id {message.id!r} was answered once more: {message.value}"
            self._find(Unasked.TWICE, text)
            return True
        created = kind is Kind.RESULT and message.result.get("resultType") == "task"
        if self._asked[key] == 1 and not created:
            self._levels.discard(key)
        if kind is Kind.RESULT:
            if key == self._initializing or what == "server/discover":
                self._declares(self.side, message.result.get("capabilities"))
            task = isinstance(message.result.get("task"), dict)
            if task or message.result.get("resultType", "complete") != "complete":
                self._lasting |= {each for each, id in self._tokens.items() if id == key}
        return False

    def _here(self, key: object, message: Message) -> tuple[object, int]:
        """An id, and where it may come once: over HTTP each message of a client is an exchange."""
        return key, message.source.exchange if self.side == "server" else 0

    def _request(self, message: Message) -> None:
        key = _key(message.id)
        if key in self._own and self.revision.handshake:
            text = f"{message.method} has the id {message.id!r}, as {self._own[key]} before it"
            self._find(Unasked.AGAIN, text)
        self._own[key] = message.method
        if message.method == "initialize":
            self._initializing = key
            self._declares(self.side, message.params.get("capabilities"))
            return
        row = self._row(message, MethodKind.REQUEST)
        if row is None:
            return
        declared = self._capabilities.get(self.other)
        if row.capability and declared is not None and not declares(declared, row.capability):
            text = f"{message.method} came, and {row.capability} was not declared"
            self._find(Unasked.ASKED, text)

    def _row(self, message: Message, kind: MethodKind) -> Method | None:
        row = lookup(message.method, self.side, self.revision)
        if row is None and message.method in KNOWN_METHODS:
            text = f"{message.method} is nothing that a {self.side} sends in {self.revision.name}"
            self._find(Unasked.FOREIGN, text)
        return row if row is not None and row.kind is kind else None

    def _notification(self, message: Message) -> None:
        row = self._row(message, MethodKind.NOTIFICATION)
        if row is None:
            return
        if self.side == "server":
            self._judged(message)
        if message.method == "notifications/progress":
            self._progress(message)
        elif message.method == "notifications/cancelled":
            self._cancelled(message)
        elif message.method not in _CHANGES or self.revision.handshake:
            self._declared(message, row)
        if message.method == _UPDATED or (message.method in _CHANGES and self.revision.modern):
            text = f"{message.method} came, and nobody had asked for it: {message.params}"
            if not self._wanted:
                self._find(Unasked.SUBSCRIBED, text)

    def _judged(self, message: Message) -> None:
        """Judge a server's notification, whoever has asked for it."""
        method, modern = message.method, self.revision.modern
        of_one = modern and self._wanted and method in (*_CHANGES, _ACKNOWLEDGED)
        if of_one and not self._subscribed(message):
            return  # one fault is one finding
        problem = params_problem(method, message.params, self.revision)
        if problem:
            self._find(Unasked.MISSHAPEN, f"the params of {method}: {problem}")
        if method == "notifications/progress":
            self._grows(message)
        if method == "notifications/message" and modern and not self._levels:
            text = f"a log message came, and no request that runs has a log level: {message.params}"
            self._find(Unasked.UNLEVELLED, text)

    def _grows(self, message: Message) -> None:
        token, value = message.params.get("progressToken"), message.params.get("progress")
        if not is_id(token) or isinstance(value, bool) or not isinstance(value, (int, float)):
            return
        place = (_key(token), message.source.exchange)
        before = self._reached.get(place)
        if before is not None and value <= before and _key(token) not in self._reused:
            text = f"progress with the token {token!r} was {before}, then {value}"
            self._find(Unasked.BACKWARDS, text)
        self._reached[place] = value

    def _subscribed(self, message: Message) -> bool:
        """Judge a notification of a subscription; return True if it names one."""
        meta = message.params.get("_meta")
        id = meta.get(SUBSCRIPTION) if isinstance(meta, dict) else None
        wanted = self._subscriptions.get(_key(id))
        if wanted is None:
            text = f"{message.method} came, and names no subscription that is: {message.params}"
            self._find(Unasked.UNNAMED, text)
            return False
        if message.method == _ACKNOWLEDGED:
            self._acknowledged.add(_key(id))
            return True
        if _key(id) not in self._acknowledged:
            text = f"{message.method} came before the subscription {id!r} was acknowledged"
            self._find(Unasked.EARLY, text)
        if not wanted.get(_CHANGES[message.method]):
            text = f"{message.method} came for the subscription {id!r}, which asks for {wanted}"
            self._find(Unasked.OTHERWISE, text)
        return True

    def _declared(self, message: Message, row: Method) -> None:
        for who, path in ((self.side, row.capability), (self.other, row.peer_capability)):
            declared = self._capabilities.get(who)
            if path is None or declared is None or declares(declared, path):
                continue
            if path != "tasks":
                how = Unasked.LOGGED if path == "logging" else Unasked.UNDECLARED
                text = f"{message.method} came, and the {who} has not declared {path}"
                self._find(how, text)

    def _progress(self, message: Message) -> None:
        token = message.params.get("progressToken")
        if not is_id(token):
            return
        key = _key(token)
        if key not in self._tokens:
            text = f"progress came with the token {token!r}, which nobody has given"
            self._find(Unasked.PROGRESS, text)
        elif key not in self._lasting and not (self.side == "client" and message.source.exchange):
            # over HTTP messages of a client may overtake each other
            here = self._here(self._tokens[key], message)
            if self._answered[here] >= max(1, self._asked[self._tokens[key]]):
                text = f"progress came with the token {token!r} after the answer"
                self._find(Unasked.LATE, text)

    def _cancelled(self, message: Message) -> None:
        id = message.params.get("requestId")
        if not is_id(id):
            return
        if self.side == "server" and self.revision.modern:
            known = self._methods.get(_key(id)) == _LISTEN
        else:
            known = _key(id) in self._own
        if not known:
            text = f"a cancellation came of {id!r}, a request that was never made"
            self._find(Unasked.CANCELLED, text)
        elif self._own.get(_key(id)) == "initialize" and self.side == "client":
            self._find(Unasked.INITIALIZE, f"a cancellation came of initialize, {id!r}")


def declares(capabilities: Mapping[str, Any], path: str) -> bool:
    """Return True if a capability is declared; nested ones are named by a path with dots."""
    value: Any = capabilities
    for part in path.split("."):
        if not isinstance(value, dict) or part not in value:
            return False
        value = value[part]
    return value is not False and value is not None


def _key(value: Any) -> object:
    return type(value), value if is_id(value) else str(value)
