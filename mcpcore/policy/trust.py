"""Trust in a server: pins of its description, allowed names, screening and redaction.

A :class:`TrustPolicy` sees the lists, results, errors and questions of one server as raw JSON, and
the calls before they are sent.  Bodies that raise nothing stay byte for byte.
"""

import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from functools import partial
from typing import Any, TypeVar
from urllib.parse import unquote

import msgspec
from msgspec import Raw, Struct

from mcpcore.engine.bodies import members_of, read_member
from mcpcore.policy.differences import (
    Declaration,
    Difference,
    DifferenceKind,
    ServerDescription,
    body_of,
    compare_declarations,
    pinned_members,
)
from mcpcore.policy.screening import Alarm, holds_text, screen, screen_value
from mcpcore.spec.bounds import check_kinds
from mcpcore.spec.errors import METHOD_NOT_FOUND, URL_ELICITATION_REQUIRED, ErrorData
from mcpcore.spec.methods import SUBJECTS
from mcpcore.spec.revisions import Revision, newest
from mcpcore.trace.redaction import Redactor
from mcpcore.wire.jsontext import Body, to_json

K = TypeVar("K")
V = TypeVar("V")

DISCOVER = "server/discover"
DIRECTORY = "resources/directory/read"
SUBSCRIBE = "resources/subscribe"
TEMPLATES = "resources/templates/list"
SKILLS = "skills/list"
LISTS = {
    "tools/list": ("tools", "name"),
    "prompts/list": ("prompts", "name"),
    "resources/list": ("resources", "uri"),
    TEMPLATES: ("resourceTemplates", "uriTemplate"),
    SKILLS: ("skills", "uri"),
}
"""Lists that are looked at: the member with the declarations, and their member with the name."""
DECLARING = {**{method: method for method in LISTS}, "skills/get": SKILLS}
"""Requests whose results hold declarations, and the lists that these are of."""
PINNED_LISTS = {
    "tools/list": "tools",
    "prompts/list": "prompts",
    TEMPLATES: "resource_templates",
    SKILLS: "skills",
}
"""Lists that have pins, and the member of a description that holds them."""
CALLS = {
    "tools/call": "tools/list",
    "prompts/get": "prompts/list",
    **dict.fromkeys(("resources/read", SUBSCRIBE, DIRECTORY), "resources/list"),
    "skills/get": SKILLS,
}
"""Requests that name one of a list, and that list."""
COMPLETE = "completion/complete"
REFERENCES = {"name": "prompts/get", "uri": "resources/read"}
"""Requests for what a completion is about, by the member of its reference with the name."""
CHANGES = {
    "notifications/tools/list_changed": ("tools/list",),
    "notifications/prompts/list_changed": ("prompts/list",),
    "notifications/resources/list_changed": ("resources/list", TEMPLATES, SKILLS),
}
"""Lists that a notification is about."""
RESULTS = frozenset({*CALLS, COMPLETE, "tasks/get", "tasks/list", "tasks/result", "tasks/cancel"})
"""Requests whose results are screened and redacted."""
TOLD = frozenset({"notifications/tasks", "notifications/tasks/status"})
"""Notifications that are, too: they have the results of tasks, or texts about them."""
UPDATED = "notifications/resources/updated"
BLOCKED = "what the server said is not trusted, and is blocked"
"""Text in place of what is blocked."""
UNCHECKED = "its declaration is not checked yet: list it first"
"""Refusal of a name that no list has had since the last change."""


MAX_NAMES = 10_000
"""Maximum names of a list whose state is kept; of those that may be used the oldest are forgotten
first, and more that may not stop every call."""


_NULL = Raw(b"null")
_ADDRESSES = ("url", "elicitationId")
"""Members of a question that are kept as they are: a person visits the address."""


class _SkillMember(Struct):
    skill: Raw


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
    """Replace the text by :data:`SCREENED`, which becomes base64 if the text was."""
    BLOCK = "block"


SCREENED = "<screened>"
"""Text that replaces one that has raised an alarm."""


class TrustSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the trust in one server.  Raises ValueError.

    Globs have ``*`` for any characters, and are for the names of tools and prompts, the URIs of
    resources and skills, and the templates of URIs.
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
    """Treatment of declarations and instructions that raise an alarm."""
    results: Treatment = Treatment.NOTE
    """Treatment of results, errors and questions that do."""
    redact: bool = False
    """True if secrets and personal data in results, errors and questions are hidden."""

    def __post_init__(self) -> None:
        check_kinds(self)


class Notice(Struct, frozen=True):
    """Event: something about a server is not as it should be."""

    method: str
    """Request that showed it; "initialize" for the instructions."""
    name: str
    """Name of what is concerned, or that was called; "" for the instructions, a question, and for
    what no params are known of."""
    differences: tuple[Difference, ...] = ()
    alarms: tuple[Alarm, ...] = ()
    blocked: bool = False
    """True if it is not passed on."""


class TrustPolicy:
    """Trust in one server, as it is set; it is asked about calls, and about what the server says.

    ``pins``: the approved description; None: there is none, and nothing is compared.  ``report``:
    function for the notices, which raises nothing.  Raises ValueError for ``strict`` without pins.
    """

    def __init__(
        self,
        settings: TrustSettings | None = None,
        pins: ServerDescription | None = None,
        *,
        report: Callable[[Notice], object] = lambda notice: None,
    ) -> None:
        self.settings = settings = settings or TrustSettings()
        if settings.strict and pins is None:
            raise ValueError("strict: there are no pins, without which it blocks nothing")
        self._allow = tuple(map(normal_uri, settings.allow))
        """Globs of what is allowed, for normal forms of URIs."""
        self._deny = tuple(map(normal_uri, settings.deny))
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
        self._missing: dict[str, dict[str, Any]] = {}
        """Pins of a list that no page has had since the last change, once one was read."""
        self._whole: dict[str, int] = {}
        """Lists that were read to their end since the last change, and how often."""
        self._sought: dict[str, dict[str, int]] = {}
        """Pinned names that a list lacked which was read so often, by its method."""
        self._bodies: dict[str, dict[bytes, list[str]]] = {}
        """Names of the pins of a list by what is left of them without the name."""
        self._stopped: str | None = None
        self._greeted: tuple[str | None, str | None] | None = None
        """Instructions that were checked last, and as they are passed on."""

    def comparable(self, revisions: Sequence[Revision]) -> tuple[Revision, ...]:
        """Return those of some revisions in which declarations can be compared with the pins.

        That is the newest alone, if there are pins: older ones lack members that are pinned.
        """
        latest = newest(revisions)
        return tuple(each for each in revisions if self.pins is None or each is latest)

    def greeted(self, instructions: str | None) -> str | None:
        """Check the instructions of a server; return them as they are passed on.

        If they are blocked, every call is refused.
        """
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
        passed = None if blocked else instructions
        if alarms and not blocked and self.settings.descriptions is Treatment.REDACT:
            passed = SCREENED
        self._greeted = instructions, passed
        return passed

    def introduced(self, instructions: str | None) -> str | None:
        """Return the instructions of a server as they are passed on, checked if they are new."""
        known = self._greeted
        if known is not None and known[0] == instructions:
            return known[1]
        return self.greeted(instructions)

    def _introduced(self, result: Raw) -> Raw:
        """Return the result of a discovery with the instructions as they are passed on."""
        members = msgspec.json.decode(result, type=dict[str, Raw])
        said = read_member(members.get("instructions", _NULL))
        said = said if isinstance(said, str) else None
        passed = self.introduced(said)
        if passed == said:
            return result
        del members["instructions"]
        if passed is not None:
            members["instructions"] = Raw(msgspec.json.encode(passed))
        return Raw(msgspec.json.encode(members))

    def changed(self, method: str) -> None:
        """Forget what is known of a list: it has changed, or the server may be another one."""
        for table in (self._refused, self._seen, self._missing, self._whole, self._sought):
            table.pop(method, None)

    def decide(self, method: str, name: str, approved: bool) -> None:
        """Take the decision about a change that was asked about; the list is to be read again."""
        self.waiting.pop((method, name), None)
        declaration = self._asked.pop((method, name), None)
        if approved and declaration is not None:
            _put(self._approved, (method, name), declaration)

    def refusal(self, method: str, name: str) -> str | None:
        """Return the reason why a request must not be sent, None if it may be.

        :data:`UNCHECKED` if there are pins and the name was in no list since the last change; for
        a URI, if its template may be blocked and the templates were not read since then.
        """
        if self._stopped is not None:
            return self._stopped
        listed = CALLS[method]
        reads, seen = listed == "resources/list", name in self._seen.get(listed, ())
        if seen and not reads:  # at once, as for most calls
            return None
        forms = uri_forms(name)
        if reads and (reason := _first(map(self._refusal_of_file, forms))) is not None:
            return reason
        if seen:
            return None
        if (reason := _first(map(self._refused.get(listed, {}).get, forms))) is not None:
            return reason
        if not self.allows(name):
            return f"{name!r} is not allowed here"
        if method == SUBSCRIBE and TEMPLATES not in self._whole:
            return None  # one that is taken up again after a restart waits for no list
        if reads:
            return _first(map(self._refusal_of_uri, forms))
        compared = self.pins is None or method in DECLARING  # the result is, if it declares
        return None if compared else UNCHECKED

    def _refusal_of_uri(self, uri: str) -> str | None:
        """Return the reason why a URI that is no listed resource must not be read."""
        pins, whole = self.pins, TEMPLATES in self._whole
        if pins is not None and not whole and (pins.resource_templates or self.settings.strict):
            return UNCHECKED
        for template, reason in self._refused.get(TEMPLATES, {}).items():
            if template_matches(template, uri):
                return reason
        return None

    def _refusal_of_file(self, uri: str) -> str | None:
        """Return the reason why a URI must not be read that may be a file of a blocked skill."""
        skills, place = self._refused.get(SKILLS, {}).items(), f"{uri}/"
        within = (why for skill, why in skills if place.startswith(skill.rpartition("/")[0] + "/"))
        return next(within, None)

    def refusal_of(self, method: str, params: Body) -> str | None:
        """Return the reason why a request with these params must not be sent, None if it may be.

        Raises msgspec.MsgspecError for params that are no object.
        """
        return _first(self.refusal(*each) for each in called(method, params))

    def unread(self, method: str, params: Body) -> list[str]:
        """Return the lists to read for a request that is refused as :data:`UNCHECKED`.

        None of them was read to its end since the last change, or it lacked what has a pin: its
        first pages may be of before, unless it is read again for that name.
        """
        lists = list[str]()
        for call, name in called(method, params):
            listed = CALLS[call] if CALLS[call] in PINNED_LISTS else TEMPLATES
            times = self._whole.get(listed, 0)
            lacks = name in self._pins_of(listed) and name not in self._seen.get(listed, ())
            if times and lacks:
                lacks = self._sought.setdefault(listed, {}).setdefault(name, times) == times
            if lacks or not times:
                lists.append(listed)
        return lists

    def reconnected(self) -> None:
        """Take note that a conversation has begun or ended: the server may be another one."""
        for method in () if self.pins is None else LISTS:
            self.changed(method)

    def notified(self, notification: str) -> None:
        """Take note of a notification of the server: a list may have changed."""
        for method in CHANGES.get(notification, ()):
            self.changed(method)

    def notification(self, method: str, params: Raw) -> Raw | None:
        """Return the params of a notification as they are passed on, None if it is blocked.

        Raises msgspec.MsgspecError for params that are no object.
        """
        if method == UPDATED:
            uris = map(_text, _members(params, "uri"))
            return params if all(map(self.allows, uris)) else None
        return self.result(method, params) if method in TOLD else params

    def allows(self, name: str) -> bool:
        """Return True if the globs allow a name, of a URI also in its normal form."""
        settings = self.settings
        written, normal, fetched = uri_forms(name)
        forms = (
            (written, settings.allow, settings.deny),
            (normal, self._allow, self._deny),
            (fetched, ("*",), self._deny),
        )
        for form, allow, deny in forms:
            matches = partial(glob_matches, name=form)
            if not any(map(matches, allow)) or any(map(matches, deny)):
                return False
        return True

    def listed(self, method: str, result: Raw) -> Raw:
        """Return a page of a list without what is blocked.

        Raises msgspec.MsgspecError for a page that is none.
        """
        member, key = LISTS[method]
        page = msgspec.json.decode(result, type=dict[str, Raw])
        raw = msgspec.json.decode(page.get(member, b"[]"), type=list[Raw])
        declared = [msgspec.json.decode(each, type=dict[str, Any]) for each in raw]
        missing = self._missing.setdefault(method, dict(self._pins_of(method)))
        for declaration in declared:
            missing.pop(_name(declaration, key), None)
        found = map(partial(self._declared, method, key), raw, declared)
        kept = [each for each in found if each]
        if page.get("nextCursor", _NULL) == _NULL:
            self.ended(method)
        if len(kept) == len(raw) and all(map(_is, kept, raw)):
            return result
        page[member] = Raw(msgspec.json.encode(kept))
        return Raw(msgspec.json.encode(page))

    def ended(self, method: str) -> None:
        """Take note that a list was read to its end, or is not offered, and tell what is gone."""
        self._whole[method] = self._whole.get(method, 0) + 1
        gone = (Difference(DifferenceKind.BREAKING, "", "removed"),)
        for name in self._missing.get(method, self._pins_of(method)):
            self.report(Notice(method, name, gone))

    def passed(self, method: str, result: Raw, params: Body = None) -> Raw | None:
        """Return a list or result as it is passed on, None if it is blocked.

        ``params`` of the request name what was called.
        Raises msgspec.MsgspecError for a list, a directory or a discovery that is none.
        """
        if method == DISCOVER:
            return self._introduced(result)
        if method in LISTS:
            return self.listed(method, result)
        if method in DECLARING:
            return self._entry(method, result)
        if method == DIRECTORY:
            result = self._children(result)
        return self.result(method, result, params) if method in RESULTS else result

    def _children(self, result: Raw) -> Raw:
        """Return what is in a directory without what must not be read."""
        page = msgspec.json.decode(result, type=dict[str, Raw])
        raw = msgspec.json.decode(page.get("resources", b"[]"), type=list[Raw])
        uris = (_name(msgspec.json.decode(each, type=dict[str, Any]), "uri") for each in raw)
        reasons = (self.refusal("resources/read", uri) for uri in uris)
        fit = (reason in (None, UNCHECKED) for reason in reasons)
        kept = [each for each, fits in zip(raw, fit, strict=True) if fits]
        if len(kept) == len(raw):
            return result
        page["resources"] = Raw(msgspec.json.encode(kept))
        return Raw(msgspec.json.encode(page))

    def _entry(self, method: str, result: Raw) -> Raw | None:
        """Return the result with one declaration of a list, None if it is blocked."""
        listed = DECLARING[method]
        entry = msgspec.json.decode(result, type=_SkillMember).skill
        declaration = msgspec.json.decode(entry, type=dict[str, Any])
        kept = self._declared(listed, LISTS[listed][1], entry, declaration)
        if kept is None or kept is entry:
            return None if kept is None else result
        members = msgspec.json.decode(result, type=dict[str, Raw])
        return Raw(msgspec.json.encode({**members, "skill": kept}))

    def _pins_of(self, method: str) -> Mapping[str, Declaration]:
        """Return the pins of a list by name, none if it has no pins."""
        if self.pins is None or method not in PINNED_LISTS:
            return {}
        pins: Mapping[str, Declaration] = getattr(self.pins, PINNED_LISTS[method])
        return pins

    def _declared(self, method: str, key: str, raw: Raw, declaration: Declaration) -> Raw | None:
        """Return a declaration as it is passed on, None if it is blocked."""
        name = _name(declaration, key)
        if not self.allows(name):
            return None
        differences, stopped = self._differences(method, name, declaration)
        alarms = tuple(screen_value(declaration))
        settings = self.settings
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
            named = {each: value for each, value in declaration.items() if each == key}
            return Raw(msgspec.json.encode(_mapped(declaration, _screened) | named))
        return raw

    def _note(self, method: str, name: str, reason: str | None) -> None:
        """Note whether a name may be used, and why not.  None that may not is ever forgotten."""
        seen = self._seen.setdefault(method, {})
        refused = self._refused.setdefault(method, {})
        forms = (name, normal_uri(name))
        if reason is None:
            for form in forms:
                refused.pop(form, None)
            _put(seen, name, None)
            return
        seen.pop(name, None)
        if len(refused) >= MAX_NAMES and name not in refused:
            self._stopped = "too many declarations of the server are not trusted"
            return
        refused |= dict.fromkeys(forms, f"{name!r} is blocked: its declaration {reason}")

    def _approval(self, method: str, name: str, raw: Raw) -> bool:
        return self._approved.get((method, name)) == bytes(raw)

    def _differences(
        self, method: str, name: str, declaration: Declaration
    ) -> tuple[tuple[Difference, ...], bool]:
        """Return the differences from the pin, and whether they are stopped.

        A declaration is renamed if a pin that is the same but for the name is no longer listed.
        """
        if self.pins is None or method not in PINNED_LISTS:
            return (), False
        pins, missing = self._pins_of(method), self._missing.get(method, {})
        strict, changes = self.settings.strict, self.settings.changed is not Reaction.WARN
        declaration = pinned_members(declaration)
        if name in pins:
            return tuple(compare_declarations(pins[name], declaration)), changes
        if method not in self._bodies:
            bodies = self._bodies.setdefault(method, {})
            for pin, approved in pins.items():
                bodies.setdefault(body_of(approved), []).append(pin)
        twins = self._bodies[method].get(body_of(declaration), ())
        twin = next((each for each in twins if each in missing), None)
        if twin is None:
            return (Difference(DifferenceKind.ADDITIVE, "", "added"),), strict
        text = f"renamed from {twin!r}"
        return (Difference(DifferenceKind.BREAKING, "", text),), strict or changes

    def error(self, method: str, error: ErrorData, params: Body = None) -> ErrorData:
        """Return an error as it is passed on; one that is blocked keeps only its code."""
        if method in PINNED_LISTS and error.code == METHOD_NOT_FOUND:
            self.ended(method)
        said = Raw(msgspec.json.encode([error.message, error.data]))
        if error.code == URL_ELICITATION_REQUIRED:
            passed = self.question(method, said)
        else:
            passed = self.result(method, said, params)
        if passed is said:
            return error
        if passed is None:
            return ErrorData(error.code, BLOCKED)
        message, data = msgspec.json.decode(passed, type=tuple[str, Raw])
        return ErrorData(error.code, message, None if error.data is None else data)

    def question(self, method: str, params: Raw) -> Raw | None:
        """Return the params of a question as they are passed on, None if it is blocked."""
        passed = self.result(method, params)
        if passed is None or passed is params:
            return passed
        before, after = msgspec.json.decode(params), msgspec.json.decode(passed)
        return Raw(msgspec.json.encode(_with_addresses(before, after)))

    def questions(self, method: str, requests: Mapping[str, Raw]) -> Mapping[str, Raw] | None:
        """Return the questions about a request as they are passed on, None if one is blocked."""
        passed = {}
        for name, request in requests.items():
            asked = self.question(method, request)
            if asked is None:
                return None
            passed[name] = asked
        return passed

    def result(self, method: str, result: Raw, params: Body = None) -> Raw | None:
        """Return a result as it is passed on, None if it is blocked or cannot be looked at."""
        try:
            value = msgspec.json.decode(result)
        except msgspec.MsgspecError as error:  # such as a number out of range
            unreadable = Alarm("unreadable", str(error))
            self.report(Notice(method, _called(method, params), (), (unreadable,), blocked=True))
            return None
        alarms, settings = tuple(screen_value(value)), self.settings
        blocked = bool(alarms) and settings.results is Treatment.BLOCK
        if alarms:
            self.report(Notice(method, _called(method, params), (), alarms, blocked))
        if blocked:
            return None
        if alarms and settings.results is Treatment.REDACT:
            result = Raw(msgspec.json.encode(_mapped(value, _screened, "uri")))
        return redact(result) if settings.redact else result


def called(method: str, params: Body) -> list[tuple[str, str]]:
    """Return the requests of :data:`CALLS` that a request stands for, with the names in them.

    Some servers also read a member whose name is in letters of another case.
    Raises msgspec.MsgspecError for params that are no object.
    """
    if method == COMPLETE:
        found = list[tuple[str, str]]()
        for reference in _members(params, "ref"):
            with suppress(msgspec.MsgspecError, ValueError):  # one that is no object has no name
                for member, call in REFERENCES.items():
                    found += [(call, _text(name)) for name in _members(reference, member)]
        return found
    if method not in CALLS:
        return []
    return [(method, _text(name)) for name in _members(params, SUBJECTS[method]) or [""]]


def _members(body: Any, name: str) -> list[Any]:
    """Return the members of an object by one name, in any case.  Raises msgspec.MsgspecError.

    Where one occurs several times, some servers read the first (RFC 8259 section 4): all are
    returned.  A tuple has the members of an object, as :func:`_all_members` returns them.
    """
    if isinstance(body, tuple):
        members: Iterable[tuple[str, Any]] = body
    elif isinstance(body, dict):
        members = body.items()
    else:
        text = bytes(body) if isinstance(body, Raw) else bytes(to_json(body))
        members = members_of(text).items()
        if b"\\u00" in text or text.lower().count(f'"{name}"'.encode()) > 1:
            members = _all_members(text)
    return [each for key, each in members if key.lower() == name]


def _all_members(text: bytes) -> tuple[tuple[str, Any], ...]:
    """Return the members of an object, each as often as it occurs; so are those of others in it."""
    # Python makes no number of very many digits, which may be there.
    found: tuple[tuple[str, Any], ...] = json.loads(text, object_pairs_hook=tuple, parse_int=str)
    return found


def _text(value: Any) -> str:
    return str(read_member(value) if isinstance(value, Raw) else value)


def _called(method: str, params: Body) -> str:
    """Return the name that the params of a request have.  Raises msgspec.MsgspecError."""
    return next((name for _, name in called(method, params)), "")


def _with_addresses(before: Any, after: Any) -> Any:
    """Return the JSON value ``after`` with the addresses that are in the same places before."""
    if isinstance(before, list) and isinstance(after, list):
        return [_with_addresses(*each) for each in zip(before, after, strict=False)]
    if isinstance(before, dict) and isinstance(after, dict):
        return {
            name: before[name] if name in _ADDRESSES else _with_addresses(before.get(name), inner)
            for name, inner in after.items()
        }
    return after


def _name(declaration: Declaration, key: str) -> str:
    """Return the name of a declaration, which is in the member ``key``."""
    return str(declaration.get(key, ""))


def _put(table: dict[K, V], key: K, value: V) -> None:
    """Put something into a table, which forgets its oldest entry if it is full."""
    if key not in table and len(table) >= MAX_NAMES:
        del table[next(iter(table))]
    table[key] = value


def _first(reasons: Iterable[str | None]) -> str | None:
    """Return the first reason that there is."""
    return next((each for each in reasons if each is not None), None)


def _is(one: object, other: object) -> bool:
    return one is other


def _mapped(value: Any, change: Callable[[Any], Any], uris: str | None = None) -> Any:
    """Return a JSON value with its texts and numbers changed, but for URIs in members ``uris``."""
    if isinstance(value, list):
        return [_mapped(each, change, uris) for each in value]
    if isinstance(value, dict):
        return {
            change(name): inner if name == uris and _is_uri(inner) else _mapped(inner, change, uris)
            for name, inner in value.items()
        }
    return change(value)


_BARE_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+")


def _is_uri(value: Any) -> bool:
    """Return True for a text that may be a URI; none has blanks (RFC 3986 section 2)."""
    return isinstance(value, str) and _BARE_URI.fullmatch(value) is not None


def _screened(value: Any) -> Any:
    """Return a text without what raises an alarm; base64 stays base64, as a schema may ask."""
    if not isinstance(value, str) or not screen(value):
        return value
    return b64encode(SCREENED.encode()).decode() if holds_text(value) else SCREENED


_EXPRESSION = re.compile(r"\{[^{}]*\}")
_WITH_SLASHES = frozenset("+#/*")
"""Characters of expressions whose values may have slashes (RFC 6570)."""


def template_matches(template: str, uri: str) -> bool:
    """Return True if a URI may be one of a template: its literal texts are there in order."""
    glob = _EXPRESSION.sub("*", template)
    if not glob_matches(glob, uri):
        return False
    expressions = "".join(_EXPRESSION.findall(template))
    return uri.count("/") == glob.count("/") or not _WITH_SLASHES.isdisjoint(expressions)


_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(?://([^/?#]*))?([^?#]*)(.*)", re.DOTALL)


def normal_uri(uri: str) -> str:
    """Return the form that all spellings of a URI share; any other name as it is.

    They differ by case, percent-encoding and dot segments (RFC 3986 section 6.2.2), by slashes that
    are repeated or leaning, and by the way to write no host of a file (RFC 8089 section 2).
    """
    found = _URI.fullmatch(uri)
    if found is None:
        return uri
    scheme, host, path, rest = found.groups()
    if scheme.lower() == "file" and host in (None, "localhost"):
        host = ""
    steps, kept = unquote(path).replace("\\", "/").split("/"), list[str]()
    for step in steps:
        if step == "..":
            del kept[-1:]
        elif step not in ("", "."):
            kept.append(step)
    root = "/" if not steps[0] and steps[1:] else ""
    end = "/" if kept and steps[-1] in ("", ".", "..") else ""
    place = "" if host is None else f"//{unquote(host).lower()}"
    return f"{scheme.lower()}:{place}{root}{'/'.join(kept)}{end}{rest}"


def uri_forms(uri: str) -> tuple[str, str, str]:
    """Return a URI as it is, in its normal form, and without what names no other resource.

    That is a fragment, which is not fetched (RFC 3986 section 3.5), and a query that is empty.
    """
    normal = normal_uri(uri)
    fetched = normal.partition("#")[0].removesuffix("?") if _URI.fullmatch(uri) else normal
    return uri, normal, fetched


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
    numbers with a country code.  What looks like one by chance is hidden as well.  A number that is
    hidden becomes a text.
    """
    redactor = Redactor()
    text = bytes(result).decode()
    safe = redactor.text(text)[0]
    value = msgspec.json.decode(safe)
    hidden = _mapped(value, partial(_without_personal, redactor))
    if hidden != value:
        return Raw(msgspec.json.encode(hidden))
    return result if safe == text else Raw(safe.encode())


def _without_personal(redactor: Redactor, value: Any) -> Any:
    """Return a text or number without personal data; a text that is JSON stays JSON."""
    if isinstance(value, int):
        text = str(value)
        return value if (hidden := _hidden(redactor, text)) == text else hidden
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith(("{", "[")):
        with suppress(msgspec.MsgspecError, RecursionError):
            decoded = msgspec.json.decode(value)
            found = _mapped(decoded, partial(_without_personal, redactor))
            return value if found == decoded else msgspec.json.encode(found).decode()
    return _hidden(redactor, value)


def _hidden(redactor: Redactor, text: str) -> str:
    for pattern, is_one in _PERSONAL:
        text = pattern.sub(partial(_hidden_find, redactor, is_one), text)
    return text


def _hidden_find(redactor: Redactor, is_one: Callable[[str], bool], found: re.Match[str]) -> str:
    return redactor.hide(found[0]) if is_one(found[0]) else found[0]


_PICTURES = frozenset(("png", "jpg", "jpeg", "gif", "webp", "avif", "svg"))
"""Endings of files, which end no domain."""


def _is_mail(text: str) -> bool:
    """Return True unless it is a version (``a@1.2``) or the file of a picture (``a@2x.png``)."""
    labels = text.lower().rpartition("@")[2].split(".")[1:]
    return any(each[:1].isalpha() and each not in _PICTURES for each in labels)


def _always(text: str) -> bool:
    return True


def _is_card(text: str) -> bool:
    """Return True if a number begins as payment cards do, and its check digit is right.

    ISO/IEC 7812-1, section 4.2 and annex B.  Times in milliseconds begin with 1.
    """
    if text[0] not in "23456":
        return False
    digits = [int(each) for each in reversed(text) if each.isdigit()]
    doubled = (sum(divmod(2 * each, 10)) for each in digits[1::2])
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0


def _is_iban(text: str) -> bool:
    """Return True if the check digits are right (ISO 13616)."""
    plain = text.replace(" ", "")
    return int("".join(str(int(each, 36)) for each in plain[4:] + plain[:4])) % 97 == 1


_PERSONAL = (
    (_MAIL, _is_mail),
    (_IBAN, _is_iban),
    (_DIGITS, _is_card),
    (_PHONE, _always),
    (_SSN, _always),
)
