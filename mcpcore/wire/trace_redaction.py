"""Taking secrets out of what a trace records, so that a trace can be shown to others.

What is hidden: values of header fields and of JSON members that are named like secrets, wherever
they stand; every value in the query of a request; the userinfo of URLs; whatever looks like a
token or a private key, also in plain text and in JSON that is itself a string; and every later
place where something turns up that was hidden before.  In its place stands ``<hidden-N>``: one
number for one secret, so that a reader still sees that two places held the same.

Text is not decoded and written anew: what is no secret stays byte for byte, and what is malformed
is read as far as it can be.  Time and memory are linear in the text.
"""

import binascii
import json
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from typing import NamedTuple

from mcpcore.wire.redaction import HIDDEN, TOKEN_PREFIX, is_secret_header
from mcpcore.wire.secret_forms import FORMS, is_quiet, weight

__all__ = ["Redactor"]

_LABELS = 10_000
"""Secrets that have numbers of their own; further ones share one mark."""
_KNOWN = 256
"""Secrets that are looked for everywhere; the oldest are forgotten first."""
_SHORT = 64
"""Characters of a secret beyond which only its digest is kept to know it again."""
_LONG = 4096
"""Characters beyond which it is not looked for elsewhere."""
_REMARKABLE = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z]).{8,}|.{16,}", re.DOTALL)
"""What is looked for everywhere: not what could be a common word."""
_HIDDEN = re.compile(r"<hidden-\d+>|" + re.escape(HIDDEN))
_DEPTH = 1000
"""Brackets open at once that are told apart."""
_NESTED = 5
"""JSON in a string in JSON in a string ...: deeper ones are hidden as a whole."""
_MOST = 32
"""Places that one record names."""
_PLACE = 120
"""Characters of a place."""

_PUBLIC_FIELDS = frozenset(
    (
        b"www-authenticate",
        b"proxy-authenticate",
        b"sec-websocket-key",
        b"access-control-allow-credentials",
    )
)
"""Named like secrets, and none: a challenge, a nonce, a switch."""
_SCHEMED = frozenset((b"authorization", b"proxy-authorization"))
_COOKIES = frozenset((b"cookie", b"set-cookie"))
_PROTOCOLS = b"sec-websocket-protocol"
_OFFERED = re.compile(re.escape(TOKEN_PREFIX) + r"([^,\s]+)", re.IGNORECASE)
_COOKIE_VALUE = re.compile(r"=([^;\s]*)")
_ENCODED = re.compile(r"=\?base64\?(.*)\?=")

_SCHEMAS = frozenset(("inputSchema", "outputSchema", "requestedSchema"))
_NAMING = frozenset(("properties", "patternProperties", "$defs", "definitions"))
_GIVEN = frozenset(("default", "const", "enum", "examples"))
"""Keywords of a schema that hold values of what it describes."""

_TOKEN = re.compile(
    r'(?P<string>"(?P<raw>(?:[^"\\]++|\\.)*+)(?:"|\\?\Z))(?P<colon>\s*:)?'
    r"|(?P<mark>[{}\[\],])|(?P<other>[^\s\"{}\[\],:]+)",
    re.DOTALL,
)
_SCALAR = re.compile(r"true|false|null|-?[0-9][0-9.eE+-]*+")
"""What stands in JSON outside of strings, roughly."""


class _Place(NamedTuple):
    """An open bracket: what it is, and what is known of what stands in it."""

    array: bool
    name: str
    """Where it stands."""
    secret: int
    """0: nothing in it is, by its place; 1: text is; 2: numbers are, too."""
    schema: int
    """0: no JSON Schema; 1: one; 2: its members are named by a schema's author."""
    told: int
    """1, 2: the schema describes what is named like a secret."""


class Redactor:
    """Hides the secrets of one trace."""

    def __init__(self) -> None:
        self._labels: dict[str, str] = {}
        self._known: OrderedDict[str, None] = OrderedDict()
        self._present: list[str] = []
        self._learned = False

    def hide(self, secret: str) -> str:
        """What stands in the place of ``secret`` from now on."""
        if _HIDDEN.fullmatch(secret):
            return secret
        name = (
            secret
            if len(secret) <= _SHORT
            else sha256(secret.encode("utf-8", "replace")).hexdigest()
        )
        label = self._labels.get(name)
        if label is None:
            full = len(self._labels) >= _LABELS
            label = HIDDEN if full else f"<hidden-{len(self._labels) + 1}>"
            if not full:
                self._labels[name] = label
            if len(secret) <= _LONG and _REMARKABLE.fullmatch(secret):
                self._known[secret] = None
                self._learned = True
                if len(self._known) > _KNOWN:
                    self._known.popitem(last=False)
        return label

    def headers(
        self, headers: Iterable[tuple[bytes, bytes]]
    ) -> tuple[list[tuple[bytes, bytes]], list[str]]:
        """Header fields without secrets, and the names of those that had some."""
        shown, places = [], []
        for name, value in headers:
            text = value.decode("latin-1")
            safe = self._field(name.lower(), text)
            if safe != text:
                places.append(f"header {name.decode('latin-1').lower()}"[:_PLACE])
                value = safe.encode("latin-1")
            shown.append((name, value))
        return shown, places[:_MOST]

    def target(self, target: str) -> tuple[str, list[str]]:
        """The target of a request or a URL without secrets, and what was hidden."""
        rest, mark, fragment = target.partition("#")
        path, question, query = rest.partition("?")
        self._look_for(target)
        safe, places = self._plain(path), []
        if safe != path:
            places.append("target")
        pairs = []
        for pair in query.split("&"):
            name, equals, value = pair.partition("=")
            if value:
                places.append(_written(f"query {name}"))
                value = self.hide(value)
            elif name and not equals:  # a query that is one word may be the token itself
                places.append("query")
                name = self.hide(name)
            pairs.append(f"{name}{equals}{value}")
        if fragment:
            places.append("fragment")
            fragment = self.hide(fragment)
        return f"{safe}{question}{'&'.join(pairs)}{mark}{fragment}", places[:_MOST]

    def text(self, text: str) -> tuple[str, list[str]]:
        """A message, or any text, without secrets, and where some were."""
        places: list[str] = []
        for _ in range(2):
            self._learned = False
            self._look_for(text)
            if not self._present and is_quiet(text):
                return text, places
            places.clear()
            safe = self._any(text, "", 0, places)
            if not self._learned:  # else it may stand before the place where it was learned, too
                break
        if len(places) > _MOST:
            places[_MOST:] = [f"{len(places) - _MOST} more"]
        return safe, places

    def data(self, data: bytes) -> tuple[bytes, list[str]]:
        """The same for bytes that are no text."""
        safe, places = self.text(data.decode("latin-1"))
        return safe.encode("latin-1"), places

    # Headers

    def _field(self, name: bytes, value: str) -> str:
        self._look_for(value)
        if name == _PROTOCOLS:
            return _OFFERED.sub(lambda found: TOKEN_PREFIX + self.hide(found[1]), value)
        if name in _PUBLIC_FIELDS:
            return value
        if not is_secret_header(name):
            inside = _ENCODED.fullmatch(value)
            if inside is not None:
                decoded = _from_base64(inside[1])
                self._look_for(decoded)
                return value if self._plain(decoded) == decoded else self.hide(decoded)
            return self._plain(value)
        if name in _SCHEMED and " " in value.strip():
            scheme, _, credentials = value.strip().partition(" ")
            return f"{scheme} {self.hide(credentials.strip())}"
        if name in _COOKIES:
            for cookie in _COOKIE_VALUE.findall(value):
                self.hide(cookie)
        inside = _ENCODED.fullmatch(value)
        return self.hide(_from_base64(inside[1]) if inside else value) if value else value

    # Text

    def _any(self, text: str, place: str, nested: int, places: list[str]) -> str:
        start = text.lstrip("\ufeff \t\r\n")[:1]
        if start in ("{", "[") and start:
            if nested == _NESTED:
                places.append(_written(place))
                return self.hide(text)
            return self._json(text, place, nested, places)
        safe = self._plain(text)
        if safe != text:
            places.append(_written(place))
        return safe

    def _json(self, text: str, place: str, nested: int, places: list[str]) -> str:
        stack: list[_Place] = [_Place(True, place, 0, 0, 0)]
        indexes = [-1]  # how many commas each open bracket has seen
        key: str | None = None
        beyond = 0
        bare = False  # words stand outside of strings: it is no JSON, and may be any text
        parts: list[str] = []
        done = 0
        for token in _TOKEN.finditer(text):
            mark = token["mark"]
            if mark is None:
                top = stack[-1]
                string = token["string"]
                if token["colon"] is not None:
                    key = _unquoted(token["raw"])
                    safe = self._plain(key)
                    if safe != key:
                        places.append(_written(top.name))
                        parts += (text[done : token.start("string")], json.dumps(safe))
                        done = token.end("string")
                        key = safe
                    continue
                secret, where = _value(top, key, indexes[-1])
                replacement = None
                if string is None:
                    other = token["other"]
                    bare = bare or not _SCALAR.fullmatch(other)
                    if secret == 2 and other not in ("true", "false", "null"):
                        places.append(_written(where))
                        replacement = json.dumps(self.hide(other))
                elif secret:
                    value = _unquoted(token["raw"])
                    if value:
                        places.append(_written(where))
                        replacement = json.dumps(self.hide(value))
                else:
                    value = _unquoted(token["raw"])
                    safe = self._any(value, where, nested + 1, places)
                    if safe != value:
                        replacement = json.dumps(safe)
                if replacement is not None:
                    parts += (text[done : token.start()], replacement)
                    done = token.end()
            elif mark in "{[":
                if len(stack) > _DEPTH:
                    beyond += 1
                else:
                    inner = _inside(stack[-1], key, indexes[-1], mark == "[")
                    if len(stack) == _DEPTH:
                        inner = inner._replace(secret=1)  # nobody looks closer from here on
                    stack.append(inner)
                    indexes.append(0)
                key = None
            elif mark == ",":
                indexes[-1] += 1
                key = None
            elif beyond:
                beyond -= 1
            elif len(stack) > 1:
                stack.pop()
                indexes.pop()
                key = None
        parts.append(text[done:])
        read = "".join(parts)
        if not bare:
            return read
        safe = self._plain(read)
        if safe != read:
            places.append(_written(place))
        return safe

    def _look_for(self, text: str) -> None:
        """Find out which of the known secrets are in a text at all, longest first."""
        escaped = "\\" in text  # they may be written in another way
        found = [secret for secret in self._known if escaped or secret in text]
        self._present = sorted(found, key=len, reverse=True)

    def _plain(self, text: str) -> str:
        for secret in self._present:
            if secret in text:
                text = text.replace(secret, self.hide(secret))
        lower = text.lower()
        for words, find in FORMS:
            if any(word in lower for word in words):
                text = self._without(text, find)
        return text

    def _without(self, text: str, find: Callable[[str], Iterator[tuple[int, int]]]) -> str:
        parts: list[str] = []
        done = 0
        for start, end in find(text):
            secret = text[start:end]
            if start < done or not secret or secret.lstrip().startswith("<hidden-"):
                continue
            parts += (text[done:start], self.hide(secret))
            done = end
        return text if not parts else "".join((*parts, text[done:]))


def _value(top: _Place, key: str | None, index: int) -> tuple[int, str]:
    """How secret a value in ``top`` is, and where it stands."""
    if index < 0:
        return top.secret, top.name
    if key is None:
        return top.secret, f"{top.name}[{index}]"
    where = f"{top.name}.{key}" if top.name else key
    if top.schema == 1:
        return max(top.secret, top.told if key in _GIVEN else 0), where
    return max(top.secret, weight(key)), where


def _inside(top: _Place, key: str | None, index: int, array: bool) -> _Place:
    """What is known of what stands in a bracket that opens in ``top``."""
    secret, where = _value(top, key, index)
    if len(where) > 4 * _PLACE:
        where = where[: 4 * _PLACE]
    schema, told = top.schema, top.told
    if not schema:
        schema = 1 if not top.array and key in _SCHEMAS else 0
        if schema:
            secret = top.secret
    elif schema == 2:
        schema, secret = 1, top.secret
        told = max(told, weight(key or ""))
    elif key in _NAMING and not top.array:
        schema = 2
    return _Place(array, where, secret, schema, told)


def _unquoted(raw: str) -> str:
    """What a JSON string says; as it stands if it is malformed."""
    if "\\" not in raw:
        return raw
    try:
        value = json.loads(f'"{raw}"', strict=False)
    except ValueError:
        return raw
    return str(value)


def _from_base64(text: str) -> str:
    try:
        return binascii.a2b_base64(text).decode()
    except ValueError:
        return text


def _written(place: str) -> str:
    """A place as a record can hold it: a name that was no UTF-8 has marks where it was not."""
    return (place or "text")[:_PLACE].encode("utf-8", "replace").decode()
