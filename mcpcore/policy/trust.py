"""Trust in a server: pins of its description, allowed names, screening and redaction.

A :class:`TrustPolicy` sees the lists and results of one server as raw JSON, and the calls before
they are sent.  Bodies that raise nothing stay byte for byte.
"""

import re
from collections.abc import Callable, Mapping
from enum import Enum
from functools import partial
from typing import Any, TypeVar

import msgspec
from msgspec import Raw, Struct

from mcpcore.policy.differences import (
    Difference,
    DifferenceKind,
    ServerDescription,
    body_of,
    compare_declarations,
    pinned_members,
)
from mcpcore.policy.screening import Alarm, screen, screen_value
from mcpcore.trace.redaction import Redactor
from mcpcore.wire.message import Body, to_json

K = TypeVar("K")
V = TypeVar("V")

LISTS = {
    "tools/list": ("tools", "name"),
    "prompts/list": ("prompts", "name"),
    "resources/list": ("resources", "uri"),
    "resources/templates/list": ("resourceTemplates", "uriTemplate"),
}
"""Lists that are looked at: the member with the declarations, and their member with the name."""
PINNED_LISTS = {
    "tools/list": "tools",
    "prompts/list": "prompts",
    "resources/templates/list": "resource_templates",
}
"""Lists that have pins, and the member of a description that holds them."""
CALLS = {
    "tools/call": ("tools/list", "name"),
    "prompts/get": ("prompts/list", "name"),
    "resources/read": ("resources/list", "uri"),
}
"""Requests that name one of a list: that list, and the member with the name."""
CHANGES = {
    "notifications/tools/list_changed": ("tools/list",),
    "notifications/prompts/list_changed": ("prompts/list",),
    "notifications/resources/list_changed": ("resources/list", "resources/templates/list"),
}
"""Lists that a notification is about."""
RESULTS = frozenset({*CALLS, "tasks/result", "tasks/get"})
"""Requests whose results are screened and redacted."""
UNCHECKED = "its declaration is not checked yet: list it first"
"""Refusal of a name that no list has had since the last change."""


MAX_NAMES = 10_000
"""Maximum names of a list whose state is kept; of those that may be used the oldest are forgotten
first, and more that may not stop every call."""


class Reaction(Enum):
    """Reaction to a description that differs from its pin."""

    WARN = "warn"
    BLOCK = "block"
    ASK = "ask"
    """Block until the application has decided."""


class Treatment(Enum):
    """Treatment of a text that raises an alarm."""

    NOTE = "note"
    REDACT = "redact"
    """Replace the text by :data:`SCREENED`."""
    BLOCK = "block"


SCREENED = "<screened>"
"""Text that replaces one that has raised an alarm."""


class TrustSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the trust in one server.

    Globs have ``*`` for any characters, and are for the names of tools and prompts, the URIs of
    resources and the templates of URIs.
    """

    allow: tuple[str, ...] = ("*",)
    """Globs of what may be seen and used."""
    deny: tuple[str, ...] = ()
    """Globs of what may not, though it is allowed."""
    changed: Reaction = Reaction.BLOCK
    """Reaction to what differs from its pin."""
    strict: bool = False
    """True if a name without a pin is blocked; else it is only told."""
    descriptions: Treatment = Treatment.NOTE
    results: Treatment = Treatment.NOTE
    redact: bool = False
    """True if secrets and personal data in results are hidden."""


class Notice(Struct, frozen=True):
    """Event: something about a server is not as it should be."""

    method: str
    """Request that showed it; "initialize" for the instructions."""
    name: str
    """Name of what is concerned, "" for the instructions or a whole result."""
    differences: tuple[Difference, ...] = ()
    alarms: tuple[Alarm, ...] = ()
    blocked: bool = False
    """True if it is not passed on."""


class TrustPolicy:
    """Trust in one server, as it is set; it is asked for each list, call and result.

    ``pins``: the approved description; None: there is none, and nothing is compared.  ``report``:
    function for the notices, which raises nothing.
    """

    def __init__(
        self,
        settings: TrustSettings | None = None,
        pins: ServerDescription | None = None,
        *,
        report: Callable[[Notice], object] = lambda notice: None,
    ) -> None:
        self.settings = settings or TrustSettings()
        self.pins = pins
        self.report = report
        self.waiting: dict[tuple[str, str], Notice] = {}
        """Changes about which the application is asked, by method and name."""
        self._asked: dict[tuple[str, str], bytes] = {}
        """Declarations of these changes."""
        self._approved: dict[tuple[str, str], bytes] = {}
        self._seen: dict[str, dict[str, None]] = {}
        """Names that may be used, by the method of their list."""
        self._refused: dict[str, dict[str, str]] = {}
        """Reasons why others may not."""
        self._stopped: str | None = None

    def greeted(self, instructions: str | None) -> None:
        """Check the instructions of a server; if they are blocked, every call is refused."""
        self._stopped = None
        differences: tuple[Difference, ...] = ()
        if self.pins is not None:
            before, after = self.pins.instructions or "", instructions or ""
            if before != after:
                text = "the instructions changed"
                differences = (Difference(DifferenceKind.RISKY, "/instructions", text),)
        alarms = tuple(screen(instructions or ""))
        changed = bool(differences) and self.settings.changed is not Reaction.WARN
        blocked = changed or (bool(alarms) and self.settings.descriptions is Treatment.BLOCK)
        if blocked:
            self._stopped = "the instructions of the server are not trusted"
        if differences or alarms:
            self.report(Notice("initialize", "", differences, alarms, blocked))

    def changed(self, method: str) -> None:
        """Forget what is known of a list: it has changed, or the server may be another one."""
        self._refused.pop(method, None)
        self._seen.pop(method, None)

    def decide(self, method: str, name: str, approved: bool) -> None:
        """Take the decision about a change that was asked about; the list is to be read again."""
        self.waiting.pop((method, name), None)
        declaration = self._asked.pop((method, name), None)
        if approved and declaration is not None:
            _put(self._approved, (method, name), declaration)

    def refusal(self, method: str, name: str) -> str | None:
        """Return the reason why a request must not be sent, None if it may be.

        :data:`UNCHECKED` if there are pins and the name was in no list since the last change.
        """
        if self._stopped is not None:
            return self._stopped
        listed = CALLS[method][0]
        if name in self._seen.get(listed, ()):
            return None
        if (reason := self._refused.get(listed, {}).get(name)) is not None:
            return reason
        if not self.allows(name):
            return f"{name!r} is not allowed here"
        return UNCHECKED if self.pins is not None and listed in PINNED_LISTS else None

    def refusal_of(self, method: str, params: Body) -> str | None:
        """Return the reason why a request with these params must not be sent, None if it may be.

        Raises msgspec.MsgspecError for params that are no object.
        """
        if method not in CALLS:
            return None
        if not isinstance(params, dict):
            params = msgspec.json.decode(to_json(params) or b"{}", type=dict[str, Any])
        return self.refusal(method, str(params.get(CALLS[method][1], "")))

    def notified(self, notification: str) -> None:
        """Take note of a notification of the server: a list may have changed."""
        for method in CHANGES.get(notification, ()):
            self.changed(method)

    def allows(self, name: str) -> bool:
        """Return True if the globs allow a name."""
        settings = self.settings
        matches = partial(glob_matches, name=name)
        return any(map(matches, settings.allow)) and not any(map(matches, settings.deny))

    def listed(self, method: str, result: Raw) -> Raw:
        """Return a page of a list without what is blocked.

        Raises msgspec.MsgspecError for a page that is none.
        """
        member, key = LISTS[method]
        page = msgspec.json.decode(result, type=dict[str, Raw])
        raw = msgspec.json.decode(page.get(member, b"[]"), type=list[Raw])
        kept = [each for each in (self._declared(method, key, each) for each in raw) if each]
        if len(kept) == len(raw) and all(map(_is, kept, raw)):
            return result
        page[member] = Raw(msgspec.json.encode(kept))
        return Raw(msgspec.json.encode(page))

    def passed(self, method: str, result: Raw) -> Raw | None:
        """Return a list or result as it is passed on, None if it is blocked.

        Raises msgspec.MsgspecError for a list that is none.
        """
        if method in LISTS:
            return self.listed(method, result)
        return self.result(method, result) if method in RESULTS else result

    def _declared(self, method: str, key: str, raw: Raw) -> Raw | None:
        """Return a declaration as it is passed on, None if it is blocked."""
        declaration = msgspec.json.decode(raw, type=dict[str, Any])
        name = str(declaration.get(key, ""))
        if not self.allows(name):
            return None
        differences, unpinned = self._differences(method, name, declaration)
        alarms = tuple(screen_value(declaration))
        settings = self.settings
        stopped = settings.strict if unpinned else settings.changed is not Reaction.WARN
        changed = bool(differences) and stopped and not self._approval(method, name, raw)
        blocked = changed or (bool(alarms) and settings.descriptions is Treatment.BLOCK)
        self._note(
            method,
            name,
            ("differs from its pin" if changed else "raised an alarm") if blocked else None,
        )
        if differences or alarms:
            notice = Notice(method, name, differences, alarms, blocked)
            self.report(notice)
            if changed and settings.changed is Reaction.ASK:
                _put(self.waiting, (method, name), notice)
                _put(self._asked, (method, name), bytes(raw))
        if blocked:
            return None
        if alarms and settings.descriptions is Treatment.REDACT:
            return Raw(msgspec.json.encode(_mapped(declaration, _screened, (key,))))
        return raw

    def _note(self, method: str, name: str, reason: str | None) -> None:
        """Note whether a name may be used, and why not.  None that may not is ever forgotten."""
        seen = self._seen.setdefault(method, {})
        refused = self._refused.setdefault(method, {})
        if reason is None:
            refused.pop(name, None)
            _put(seen, name, None)
            return
        seen.pop(name, None)
        if len(refused) >= MAX_NAMES and name not in refused:
            self._stopped = "too many declarations of the server are not trusted"
            return
        refused[name] = f"{name!r} is blocked: its declaration {reason}"

    def _approval(self, method: str, name: str, raw: Raw) -> bool:
        return self._approved.get((method, name)) == bytes(raw)

    def _differences(
        self, method: str, name: str, declaration: Mapping[str, Any]
    ) -> tuple[tuple[Difference, ...], bool]:
        """Return the differences from the pin, and whether there is no pin of the name."""
        if self.pins is None or method not in PINNED_LISTS:
            return (), False
        pins = getattr(self.pins, PINNED_LISTS[method])
        declaration = pinned_members(declaration)
        if name in pins:
            return tuple(compare_declarations(pins[name], declaration)), False
        body = body_of(declaration)
        twin = next((old for old, pin in pins.items() if body_of(pin) == body), None)
        if twin is None:
            return (Difference(DifferenceKind.ADDITIVE, "", "added"),), True
        return (Difference(DifferenceKind.BREAKING, "", f"renamed from {twin!r}"),), True

    def result(self, method: str, result: Raw) -> Raw | None:
        """Return a result as it is passed on, None if it is blocked."""
        value = msgspec.json.decode(result)
        alarms, settings = tuple(screen_value(value)), self.settings
        blocked = bool(alarms) and settings.results is Treatment.BLOCK
        if alarms:
            self.report(Notice(method, "", (), alarms, blocked))
        if blocked:
            return None
        if alarms and settings.results is Treatment.REDACT:
            result = Raw(msgspec.json.encode(_mapped(value, _screened, ("uri", "data"))))
        return redact(result) if settings.redact else result


def _put(table: dict[K, V], key: K, value: V) -> None:
    """Put something into a table, which forgets its oldest entry if it is full."""
    if key not in table and len(table) >= MAX_NAMES:
        del table[next(iter(table))]
    table[key] = value


def _is(one: object, other: object) -> bool:
    return one is other


def _mapped(value: Any, change: Callable[[str], str], keep: tuple[str, ...] = ()) -> Any:
    """Return a JSON value with its texts changed, but for those of some members."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_mapped(each, change, keep) for each in value]
    if isinstance(value, dict):
        return {
            change(name): inner if name in keep else _mapped(inner, change, keep)
            for name, inner in value.items()
        }
    return value


def _screened(text: str) -> str:
    return SCREENED if screen(text) else text


def glob_matches(glob: str, name: str) -> bool:
    """Return True if a name matches a glob, in time linear in the name for each ``*``."""
    first, *others = glob.split("*")
    if not others:
        return glob == name
    *middle, last = others
    if not name.startswith(first) or not name.endswith(last):
        return False
    at, end = len(first), len(name) - len(last)
    for part in middle:
        found = name.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return at <= end


# Secrets and personal data

_MAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,5}")
_DIGITS = re.compile(r"(?<![\w.-])[0-9](?:[ -]?[0-9]){12,18}(?![\w-])")
_IBAN = re.compile(r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b")
_PHONE = re.compile(r"(?<![\w.])\+[0-9]{1,3}(?:[ ()-]{0,2}[0-9]){7,12}(?![\w])")
_SSN = re.compile(r"(?<![\w-])[0-9]{3}-[0-9]{2}-[0-9]{4}(?![\w-])")


def redact(result: Raw) -> Raw:
    """Return a JSON value without secrets, as traces are, and without personal data.

    Personal data are mail addresses, payment cards, IBANs, US social security numbers, and phone
    numbers with a country code.  What looks like one by chance is hidden as well.
    """
    redactor = Redactor()
    text = bytes(result).decode()
    safe = redactor.text(text)[0]
    value = msgspec.json.decode(safe)
    hidden = _mapped(value, partial(_without_personal, redactor))
    if hidden != value:
        return Raw(msgspec.json.encode(hidden))
    return result if safe == text else Raw(safe.encode())


def _without_personal(redactor: Redactor, text: str) -> str:
    for pattern, is_one in _PERSONAL:
        for found in set(pattern.findall(text)):
            if is_one(found):
                text = text.replace(found, redactor.hide(found))
    return text


def _always(text: str) -> bool:
    return True


def _is_card(text: str) -> bool:
    """Return True if the check digit is right (ISO/IEC 7812-1, annex B)."""
    digits = [int(each) for each in reversed(text) if each.isdigit()]
    doubled = (sum(divmod(2 * each, 10)) for each in digits[1::2])
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0


def _is_iban(text: str) -> bool:
    """Return True if the check digits are right (ISO 13616)."""
    plain = text.replace(" ", "")
    return int("".join(str(int(each, 36)) for each in plain[4:] + plain[:4])) % 97 == 1


_PERSONAL = (
    (_MAIL, _always),
    (_IBAN, _is_iban),
    (_DIGITS, _is_card),
    (_PHONE, _always),
    (_SSN, _always),
)
