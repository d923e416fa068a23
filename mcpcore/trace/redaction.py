"""Redaction of traces, so that a trace can be shown to others.

Hidden are: values of header fields and of JSON members that are named like secrets, at any depth;
every value in the query of a request; the userinfo of URLs; every text that looks like a
token or a private key, also in plain text and in JSON that is itself a string; and every later
occurrence of a value that was hidden before.  ``<hidden-N>`` stands in its place: one
number for one secret, so that a reader still sees that two places held the same.

Text that is not secret stays byte for byte, and malformed text is read as far as possible.  Time
and memory are linear in the text.
"""

import binascii
import json
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from typing import NamedTuple

from mcpcore.wire.redaction import HIDDEN, TOKEN_PREFIX, is_secret_header

# Names of members, and forms in a text

_HARD = re.compile(r"passw|passphrase|pwd$|passcode|secret|credential|^pin$|^otp$|^cvv$")
"""Pattern for member names without punctuation, in lower case: numbers are hidden, too."""
_SOFT = re.compile(
    r"authorization|^auth$|authkey|oauth|token|cookie|jwt|bearer|apikey|accesskey|privatekey"
    r"|signingkey|encryptionkey|sessionid|sessionkey|signature$|assertion$|codeverifier|^dpop$"
)
_QUERY = re.compile(
    r"^code$|^state$|^key$|^sig$|^sid$|session|" + _HARD.pattern + "|" + _SOFT.pattern
)
_SQUASH = re.compile(r"[^A-Za-z0-9]+")
_PROTOCOL_NAMES = frozenset(("progressToken",))
"""Members of the protocol that are named like secrets, but are none."""

_TOKENS = (
    *("sk-", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-"),
    *("xox", "akia", "aiza", "mck_"),
)
"""Beginnings of the tokens of well-known services, and of this project's API keys."""
_WORDS = (
    *("passw", "passphrase", "pwd", "passcode", "secret", "credential", "pin", "otp", "cvv"),
    *("auth", "token", "cookie", "jwt", "bearer", "key", "session", "signature", "assertion"),
    *("verifier", "dpop", "code=", "state="),
    *_TOKENS,
    *("://", "eyj", "private key", "\\u"),
)
"""Words in lower case; every text with a secret, by its name or its form, contains one of them.
The last one stands for names written with escapes."""


_Find = Callable[[str], Iterator[tuple[int, int]]]
"""Function that yields where secrets of one form are in a text."""


def weight(name: str) -> int:
    """Return how secret a member's value is by its name: 0 not, 1 as a text, 2 even as a number."""
    if name in _PROTOCOL_NAMES:
        return 0
    squashed = _SQUASH.sub("", name.rpartition("/")[2]).lower()
    return 2 if _HARD.search(squashed) else 1 if _SOFT.search(squashed) else 0


def _groups(pattern: str) -> _Find:
    """Return a function that finds the first group of a pattern."""
    compiled = re.compile(pattern, re.DOTALL)
    return lambda text: (found.span(1) for found in compiled.finditer(text))


_PARAMETER = re.compile(r"(?:\A|[?&#;])([\w.~%\[\]-]{1,64})=([^&#\s\"<>\\]+)")


def _parameters(text: str) -> Iterator[tuple[int, int]]:
    for found in _PARAMETER.finditer(text):
        if _QUERY.search(_SQUASH.sub("", found[1]).lower()):
            yield found.span(2)


_DOTTED = re.compile(r"[\w.-]+")
_JOSE = re.compile(r"(?<![A-Za-z0-9_])eyJ[\w-]{8}")
_JOSE_PARTS = 5
"""Maximum parts of a token: those of an encrypted one (RFC 7516 section 3.1)."""


def _json_web_tokens(text: str) -> Iterator[tuple[int, int]]:
    """Find parts joined by dots, of which the first begins as a JSON object does in base64.

    One run at a time, as a run with many beginnings must not be read to its end for each.
    """
    for run in _DOTTED.finditer(text):
        parts, at, free = run[0].split("."), run.start(), 0
        for place, part in enumerate(parts[:-1]):
            found = _JOSE.search(part) if place >= free and parts[place + 1] else None
            if found is not None:
                free = place + _JOSE_PARTS
                size = sum(map(len, parts[place:free])) + len(parts[place:free]) - 1
                yield at + found.start(), at + size
            at += len(part) + 1


_BEGIN = re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----")


def _private_keys(text: str) -> Iterator[tuple[int, int]]:
    at = 0
    while (begin := _BEGIN.search(text, at)) is not None:
        end = text.find("-----END", begin.end())
        at = len(text) if end < 0 else end
        yield begin.end(), at


FORMS: tuple[tuple[tuple[str, ...], _Find], ...] = (
    (("://",), _groups(r"://([^/\s?#\"<>\\]{0,2000})@")),
    (("bearer",), _groups(r"(?<![A-Za-z0-9_])(?i:bearer)\s{1,9}([A-Za-z0-9._~+/=-]{6,})")),
    (
        ("authorization",),
        _groups(
            r"(?<![A-Za-z0-9_])(?i:authorization)[\"']?\s{0,4}[:=]\s{0,4}[\"']?"
            r"(?:[A-Za-z0-9-]{1,32}\s{1,4})?([^\s\"',;]+)"
        ),
    ),
    (("=",), _parameters),
    (("eyj",), _json_web_tokens),
    (
        _TOKENS,
        _groups(
            r"(?<![A-Za-z0-9_-])(sk-[\w-]{16,}|gh[pousr]_\w{20,}|github_pat_\w{20,}"
            r"|glpat-[\w-]{16,}|mck_[0-9a-z]{12}_[\w-]{16,}|xox[abeprs]-[\w-]{10,}|AKIA[0-9A-Z]{16}|AIza[\w-]{30,})"
        ),
    ),
    (("private key",), _private_keys),
    (("mcp.auth.",), _groups(r"(?i:mcp\.auth\.)([^,\s\"\\]+)")),
    (
        ("passw", "pwd", "passphrase", "secret", "token", "key", "session", "cookie"),
        _groups(
            r"(?<![A-Za-z])(?i:password|passwd|pwd|passphrase|secret|client[_-]secret|api[_-]?key"
            r"|access[_-]?token|refresh[_-]?token|auth[_-]?token|session[_-]?id|token|cookie)"
            r"[\"']?\s{0,4}[:=]\s{0,4}[\"']?([^\s\"',;&<>]+)"
        ),
    ),
)
"""Forms of secrets in the order in which they are looked for, if one of the words is there."""

# A trace

_LABELS = 10_000
"""Maximum secrets with numbers of their own; further ones share one mark."""
_KNOWN = 256
"""Maximum secrets that are looked for everywhere; the oldest are forgotten first."""
_SHORT = 64
"""Characters of a secret beyond which only its digest is kept to recognise it."""
_LONG = 4096
"""Characters of a secret beyond which it is not looked for elsewhere."""
_REMARKABLE = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z]).{8,}|.{16,}", re.DOTALL)
"""Pattern of secrets that are looked for everywhere: none that could be a common word."""
_HIDDEN = re.compile(r"<hidden-\d+>|" + re.escape(HIDDEN))
_DEPTH = 1000
"""Maximum brackets open at once that are tracked."""
_NESTED = 5
"""Maximum levels of JSON within strings of JSON; deeper ones are hidden as a whole."""
_MOST = 32
"""Maximum places that one record names."""
_PLACE = 120
"""Maximum characters of a place."""

_PUBLIC_FIELDS = (
    *(b"www-authenticate", b"proxy-authenticate", b"sec-websocket-key"),
    b"access-control-allow-credentials",
)
"""Fields that are named like secrets, but are none: a challenge, a nonce, a switch."""
_SCHEMED = (b"authorization", b"proxy-authorization")
_COOKIES = (b"cookie", b"set-cookie")
_PROTOCOLS = b"sec-websocket-protocol"
_OFFERED = re.compile(re.escape(TOKEN_PREFIX) + r"([^,\s]+)", re.IGNORECASE)
_COOKIE_VALUE = re.compile(r"=([^;\s]*)")
_ENCODED = re.compile(r"=\?base64\?(.*)\?=")

_SCHEMAS = frozenset(("inputSchema", "outputSchema", "requestedSchema"))
_NAMING = frozenset(("properties", "patternProperties", "$defs", "definitions"))
_GIVEN = frozenset(("default", "const", "enum", "examples"))
"""Keywords of a schema whose values are instances of the described type."""

_TOKEN = re.compile(
    r'(?P<string>"(?P<raw>(?:[^"\\]++|\\.)*+)(?:"|\\?\Z))(?P<colon>\s*:)?'
    r"|(?P<mark>[{}\[\],])|(?P<other>[^\s\"{}\[\],:]+)",
    re.DOTALL,
)
_SCALAR = re.compile(r"true|false|null|-?[0-9][0-9.eE+-]*+")
"""Pattern of JSON tokens outside of strings, roughly."""


class _Bracket(NamedTuple):
    """State of an open bracket: its kind, and how its content is to be treated."""

    array: bool
    name: str
    """Path of the bracket in the message."""
    secret: int
    """0: nothing in it is secret by its place; 1: text is; 2: numbers are, too."""
    schema: int
    """0: no JSON Schema; 1: one; 2: its members are named by a schema's author."""
    told: int
    """1, 2: weight of the secret name that the schema describes; 0: none."""


class Redactor:
    """Hides the secrets of one trace."""

    def __init__(self) -> None:
        self._labels: dict[str, str] = {}
        self._known: OrderedDict[str, None] = OrderedDict()
        self._present: list[str] = []
        self._learned = False

    def hide(self, secret: str) -> str:
        """Return the placeholder of ``secret``, the same each time."""
        if _HIDDEN.fullmatch(secret):
            return secret
        name = secret
        if len(secret) > _SHORT:
            name = sha256(secret.encode("utf-8", "replace")).hexdigest()
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
        """Return header fields without secrets, and the names of those that had some."""
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
        """Return the target of a request or a URL without secrets, and the hidden places."""
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
        """Return a message, or any text, without secrets, and the hidden places."""
        places: list[str] = []
        lower = text.lower()
        for _ in range(2):
            self._learned = False
            self._look_for(text)
            if not self._present and not any(word in lower for word in _WORDS):
                return text, places
            places.clear()
            safe = self._any(text, "", 0, places)
            if not self._learned:  # else it may also occur before the place where it was learned
                break
        if len(places) > _MOST:
            places[_MOST:] = [f"{len(places) - _MOST} more"]
        return safe, places

    def data(self, data: bytes) -> tuple[bytes, list[str]]:
        """Do the same as :meth:`text` for bytes, which need not be UTF-8."""
        encoding = "utf-8"
        try:
            text = data.decode()
        except UnicodeDecodeError:
            encoding, text = "latin-1", data.decode("latin-1")
        safe, places = self.text(text)
        return safe.encode(encoding), places

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
        stack: list[_Bracket] = [_Bracket(True, place, 0, 0, 0)]
        indexes = [-1]  # number of commas so far in each open bracket
        key: str | None = None
        beyond = 0
        bare = False  # True if there are words outside of strings: it is no JSON, but any text
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
                        inner = inner._replace(secret=1)  # deeper levels are not tracked
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
        """Find the known secrets that occur in a text, longest first."""
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

    def _without(self, text: str, find: _Find) -> str:
        parts: list[str] = []
        done = 0
        for start, end in find(text):
            secret = text[start:end]
            if start < done or not secret or secret.lstrip().startswith("<hidden-"):
                continue
            parts += (text[done:start], self.hide(secret))
            done = end
        return text if not parts else "".join((*parts, text[done:]))


def _value(top: _Bracket, key: str | None, index: int) -> tuple[int, str]:
    """Return how secret a value in ``top`` is, and its path."""
    if index < 0:
        return top.secret, top.name
    if key is None:
        return top.secret, f"{top.name}[{index}]"
    where = f"{top.name}.{key}" if top.name else key
    if top.schema == 1:
        return max(top.secret, top.told if key in _GIVEN else 0), where
    return max(top.secret, weight(key)), where


def _inside(top: _Bracket, key: str | None, index: int, array: bool) -> _Bracket:
    """Return the state of a bracket that opens in ``top``."""
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
    return _Bracket(array, where, secret, schema, told)


def _unquoted(raw: str) -> str:
    """Return the value of a JSON string; as it stands if it is malformed."""
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
    """Return a place as a record can hold it: characters that are no UTF-8 are replaced."""
    return (place or "text")[:_PLACE].encode("utf-8", "replace").decode()
