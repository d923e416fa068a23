"""Screening of texts of a server for instructions that aim at the model that reads them.

A text is decoded within bounds (entities, percent and backslash escapes, base64, hexadecimal
digits, terminal escapes, tag characters, letters that look like others, letters with spaces
between), and its words are held against rules.
Time is linear in the text.  It is a tripwire, not a wall: who rewords an attack passes.
"""

import base64
import re
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from html import unescape
from typing import Any
from urllib.parse import unquote

from msgspec import Struct

PIECE = 65_536
"""Maximum characters of a text that are looked at together; a longer one is read in pieces."""
OVERLAP = 8_192
"""Characters at the end of a piece that the next one has as well: rules reach over no more."""
DEPTH = 3
"""Maximum times that a text is decoded, one encoding inside of another."""
_SHORT = 32
"""Maximum characters of a text whose alarms are remembered."""


class Alarm(Struct, frozen=True):
    """Finding in a text of a server."""

    rule: str
    """Name of the rule: one of :data:`RULES`, :data:`MARKS` or "hidden", "image", or
    "unreadable" of what cannot be decoded."""
    excerpt: str
    """Words that met the rule, from the decoded text, or the characters that were hidden."""


class WordRule(Struct, frozen=True):
    """Rule that is met where a word of each set stands within ``span`` words."""

    name: str
    span: int
    sets: tuple[frozenset[str], ...]


def _rule(name: str, span: int, *sets: str) -> WordRule:
    return WordRule(name, span, tuple(frozenset(words.split()) for words in sets))


_ORDERS = "instruction instructions prompt prompts rule rules guideline guidelines directive"
_ORDERS += " directives policy policies constraint constraints restrictions guardrails programming"
_EARLIER = "previous prior earlier above preceding existing former system safety original initial"
_SECRETS = "password passwords credential credentials secret secrets token tokens apikey api_key"
_SECRETS += " keys passphrase cookie cookies conversation transcript history chat id_rsa env ssh"
_SECRETS += " environment wallet messages"
_PEOPLE = "user users human humans person operator customer anyone anybody them"
_TELLING = "tell telling mention mentioning inform informing reveal revealing notify notifying"
_TELLING += " disclose disclosing alert alerting show showing say explain know notice asking"
_NOT = "not never dont don't without avoid refrain cannot must_not silently secretly quietly hide"
_NOT += " conceal"
_SENDING = "send sends forward post upload transmit email exfiltrate leak copy deliver submit"
_SENDING += " append include attach pass put embed encode place insert relay write"
_FORCE = "must always mandatory required immediately important critical never whenever silently"
_FORCE += " secretly first quietly regardless automatically"

RULES = (
    _rule(
        "override",
        9,
        "ignore disregard forget override bypass discard neglect drop abandon"
        " ignoring overrides supersede supersedes replaces skip",
        _EARLIER + " your all any",
        _ORDERS,
    ),
    _rule(
        "override",
        9,
        "ignoriere ignorieren ignoriert vergiss vergesst missachte oublie oubliez ignorez ignora"
        " ignore ignorar olvida olvide olvidar esqueca esquecam dimentica dimenticate",
        "alle bisherigen vorherigen fruheren obigen toutes precedentes du anteriores previas todas"
        " tutte precedenti",
        "anweisungen regeln vorgaben instructions consignes regles instrucciones reglas instrucoes"
        " regras istruzioni regole",
    ),
    _rule(
        "secrecy",
        7,
        "sag sage verrate erwahne dis dites digas diga conte dire",
        "nichts nicht rien pas no nao nada non niente",
        "nutzer benutzer anwender l'utilisateur utilisateur usuario utente all'utente",
    ),
    _rule("secrecy", 7, _NOT, _TELLING, _PEOPLE),
    _rule(
        "secrecy",
        10,
        "confidential secret hidden internal private",
        "not never dont don't",
        _TELLING + " repeat output print",
        "this these it block section note",
    ),
    _rule(
        "exfiltration",
        14,
        _SENDING,
        _SECRETS,
        _FORCE + " before secret hidden full entire complete whole",
        "to as in into url parameter argument field via",
    ),
    _rule(
        "files",
        16,
        "read open load cat include send contents content pass access fetch attach"
        " retrieve print upload",
        "id_rsa id_ed25519 passwd shadow netrc authorized_keys pgpass"
        " keychain kubeconfig mcp.json htpasswd",
    ),
    _rule(
        "tools",
        13,
        "before instead whenever prior rather",
        "tool tools function functions",
        "other any every another all",
        "must always mandatory required never only",
    ),
    _rule(
        "role",
        9,
        "now pretend act become acting roleplay mode henceforth",
        "unrestricted dan"
        " jailbroken unfiltered uncensored administrator root developer unlimited superuser",
        "you your mode",
    ),
    _rule(
        "authority",
        12,
        "system developer administrator admin security operator vendor",
        "notice message override directive alert update announcement",
        "must immediately mandatory comply obey execute override supersedes",
    ),
    _rule(
        "redirect",
        14,
        "recipient recipients bcc payee iban wallet beneficiary destination registry endpoint",
        _FORCE + " instead",
        "change replace set redirect add modify substitute use reroute swap",
    ),
    _rule(
        "consent",
        10,
        "without skip bypass suppress disable",
        "confirmation approval permission consent confirm asking approved",
        "user users human always must execute delete run them automatically",
    ),
)
"""Rules of words, of which each set must be met."""

MARKS = {
    "markup": (
        *("<important>", "<system>", "</system>", "[system]", "[inst]", "<|im_start|>", "<hidden>"),
        *("<|system|>", "<secret>", "<<sys>>", "### system", "###system", "<instructions>"),
        *("<admin>", "[/inst]", "<|endoftext|>", "system prompt:", "end of tool description"),
    ),
    "override": (
        *(
            "忽略之前",
            "忽略以上",
            "忽略所有",
            "忽略先前",
            "无视之前",
            "指示をすべて無視",
            "指示を無視",
        ),
        *("предыдущие инструкции", "предыдущие указания", "предыдущих инструкций"),
    ),
    "secrecy": ("不要告诉用户", "ユーザーに伝えないで", "не говори пользователю"),
    "files": (
        *("~/.ssh", ".ssh/id_", ".aws/credentials", "/etc/passwd", "/etc/shadow", ".cursor/mcp"),
        *(".kube/config", "login.keychain", "/.netrc", ".config/gcloud"),
    ),
    "command": (
        *("| sh", "|sh", "| bash", "|bash", "rm -rf /", "rm -rf ~", "invoke-expression"),
        *("base64 -d", "nc -e", "/dev/tcp/", "| iex", "powershell -enc"),
    ),
}
"""Texts that meet a rule by themselves."""

_IMAGE = re.compile(r"!\[[^\]\n]{0,80}\]\(https?://[^\s)?]{1,200}\?")
"""Pattern of a picture whose address has a query: showing it sends that."""

_SLOTS: dict[str, list[tuple[int, int]]] = {}
_BITS: dict[str, int] = {}
"""Sets that a word is in, a bit for each, of all rules together."""
_WHOLE: list[int] = []
"""Bits of all sets of a rule, by its place in :data:`RULES`."""
for _each in RULES:
    _first = sum(mask.bit_count() for mask in _WHOLE)
    _WHOLE.append((2 ** len(_each.sets) - 1) << _first)
    for _slot, _words in enumerate(_each.sets):
        for _word in _words:
            _SLOTS.setdefault(_word, []).append((len(_WHOLE) - 1, _slot))
            _BITS[_word] = _BITS.get(_word, 0) | 1 << (_first + _slot)
_WORD = re.compile(r"[a-z_'][\w'.]*")


def screen(text: str) -> list[Alarm]:
    """Return the alarms that a text raises, one for each rule."""
    alarms = {}
    hidden = _hidden(text)
    if hidden:
        alarms["hidden"] = Alarm("hidden", hidden)
    for piece in _pieces(text):
        for layer in _layers(piece):
            for alarm in _met(layer):
                alarms.setdefault(alarm.rule, alarm)
    return list(alarms.values())


def _pieces(text: str) -> Iterator[str]:
    """Yield the pieces of a text, but for those of media, which are base64 that holds no text."""
    if len(text) <= PIECE:
        yield text
        return
    for start in range(0, len(text) - OVERLAP, PIECE - OVERLAP):
        piece = text[start : start + PIECE]
        if not _BASE64.fullmatch(piece) or holds_text(piece[:OVERLAP]):
            yield piece


_screen_short = lru_cache(maxsize=1024)(screen)
"""Return the alarms of a short text: names of members, which are the same in most declarations."""


def screen_value(value: Any) -> Iterator[Alarm]:
    """Yield the alarms of all texts in a JSON value, names of members included."""
    pending = [value]
    while pending:
        each = pending.pop()
        if isinstance(each, str):
            yield from screen(each) if len(each) > _SHORT else _screen_short(each)
        elif isinstance(each, dict):
            pending += (*each, *each.values())
        elif isinstance(each, list | tuple):
            pending += each


def _met(text: str) -> Iterable[Alarm]:
    found = [
        Alarm(name, mark)
        for sign, marks in _MARKED.items()
        if sign in text
        for mark, name in marks
        if mark in text
    ]
    if "![" in text and (image := _IMAGE.search(text)):
        found.append(Alarm("image", image[0]))
    words = [word.rstrip(".'") for word in _WORD.findall(text)]
    bits = 0
    for word in _BITS.keys() & set(words):
        bits |= _BITS[word]
    complete = {index for index, mask in enumerate(_WHOLE) if bits & mask == mask}
    return (*found, *_near(words, complete)) if complete else found


def _near(words: list[str], rules: set[int]) -> Iterator[Alarm]:
    """Yield the alarms of the rules of which words of all sets stand near each other."""
    last = {index: [(-1_000, "")] * len(RULES[index].sets) for index in rules}
    for place, word in enumerate(words):
        for index, slot in _SLOTS.get(word, ()):
            if index in last:
                seen, rule = last[index], RULES[index]
                seen[slot] = (place, word)
                if place - min(seen)[0] < rule.span and len(set(seen)) == len(seen):
                    yield Alarm(rule.name, " ".join(each for _, each in sorted(seen)))


# Decoding

_TAGGED = re.compile("[\U000e0020-\U000e007e]+")
_BLACK_FLAG = "\U0001f3f4"
"""Beginning of the flags of regions, which are written with tag characters."""
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0"
    "\U000e0000-\U000e0fff]+"
)
_OVERRIDES = re.compile("[\u202d\u202e]")
_TERMINAL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z^_])")
"""Pattern of what terminals take for orders, as ECMA-48 has it: it is not shown."""
_RUN = 12
"""Invisible characters in a row that hide something; some languages and emoji have a few."""
_ALIKE = str.maketrans(
    "авгекмнорстухіјѕѵԁһӏԛԝьαβεικνορτυχγωηɡıɑ",
    "abrekmhopctyxijsvdhlqwbabeiknoptuxywngia",
)
"""Letters of other scripts, and the Latin ones that they look like."""
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u((?![dD][89a-fA-F])[0-9a-fA-F]{4}))")
_ENDLESS = re.compile(r"&#[0-9]{1000,}")
"""Pattern of numbers that Python takes for none."""
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{24,}(?:\r?\n[ \t]*[A-Za-z0-9+/_-]+)*={0,2}")
"""Pattern of base64 and hexadecimal digits, which may be in several lines."""
_EXPANDING = re.compile("[\ufdfa\ufdfb]")
"""Pattern of letters that become whole sentences in NFKC, of 18 letters; all others become 6."""
_SPACED = re.compile(r"(?<![^\W_])(?:[^\W_][ .*_-]){4,}[^\W_](?![^\W_])")
_BETWEEN = re.compile(r"[ .*_-]")


def _hidden(text: str) -> str:
    """Return characters that nobody sees and that carry a text, in words; "" if there are none."""
    if text.isascii():
        return ""
    for found in _INVISIBLE.finditer(text):
        if _TAGGED.search(found[0]):
            if text[found.start() - 1 : found.start()] != _BLACK_FLAG:
                return f"tag characters:{_visible(found[0][:80])}"
        elif len(found[0]) >= _RUN:
            return f"{len(found[0])} invisible characters"
    found_override = _OVERRIDES.search(text)
    return f"bidirectional override {found_override[0]!a}" if found_override else ""


def _layers(text: str) -> Iterator[str]:
    """Yield a text as a reader sees it, and each text that is encoded in it."""
    pending = [(text, 0)]
    while pending:
        each, depth = pending.pop()
        if "\x1b" in each:  # a terminal hides more of it than a model, which reads all
            pending.append((each.replace("\x1b", " "), depth))
            each = _TERMINAL.sub("", each).replace("\x1b", "")
        plain = each if each.isascii() else _visible(each)
        yield _folded(plain)
        if depth == DEPTH:
            continue
        decoded = _decoded(plain)
        if decoded != plain:
            pending.append((decoded, depth + 1))
        if inner := " ".join(
            each for run in _BASE64.findall(plain) for each in _encoded(run) if each
        ):
            pending.append((inner, depth + 1))


def _visible(text: str) -> str:
    """Return a text with tag characters as letters and without what is invisible."""
    shown = _TAGGED.sub(lambda run: " " + "".join(chr(ord(c) - 0xE0000) for c in run[0]), text)
    return unicodedata.normalize("NFKC", _EXPANDING.sub(" ", _INVISIBLE.sub("", shown)))


def _folded(text: str) -> str:
    """Return a text in lower case, with plain blanks, Latin letters, and words in one piece."""
    lower = text.lower()
    if not lower.isascii():
        split = unicodedata.normalize("NFD", lower.translate(_ALIKE).replace("\u2019", "'"))
        lower = "".join(each for each in split if not unicodedata.combining(each))
    return " ".join(_SPACED.sub(lambda found: _BETWEEN.sub("", found[0]), lower).split())


def _decoded(text: str) -> str:
    """Return a text without entities, percent and backslash escapes."""
    if "&" in text:
        text = unescape(_ENDLESS.sub("\ufffd", text))
    if "%" in text:
        text = unquote(text)
    if "\\" in text:
        text = _ESCAPE.sub(lambda found: chr(int(found[1] or found[2], 16)), text)
    return text


def holds_text(text: str) -> bool:
    """Return True if a text is nothing but base64 or hexadecimal digits that hold a text."""
    return _BASE64.fullmatch(text) is not None and any(_encoded(text))


def _encoded(run: str) -> Iterator[str]:
    """Yield the texts that base64 or hexadecimal digits hold: their lines together, and each."""
    lines = run.rstrip("=").split()
    alone = lines if len(lines) > 1 else []
    for each in ("".join(lines), *(each for each in alone if len(each) >= 24)):
        with suppress(ValueError):
            yield _text(bytes.fromhex(each.removeprefix("0x")))
            continue
        plain = each.replace("-", "+").replace("_", "/")
        # Only what is longer than the overlap may have begun, out of step, in the piece before.
        for start in range(4 if len(run) >= OVERLAP else 1):
            yield _text(_from_base64(plain[start:]))


def _from_base64(text: str) -> bytes:
    """Return what base64 without padding holds."""
    whole = len(text) - (len(text) % 4 == 1)  # a single last character holds no byte
    return base64.b64decode(text[:whole] + "=" * (-whole % 4))


def _text(data: bytes) -> str:
    """Return the text that bytes are, "" if more than an eighth of them is none."""
    text = data.decode(errors="ignore")
    return text if 8 * len(text.encode()) >= 7 * len(data) else ""


_MARKED: dict[str, list[tuple[str, str]]] = {}
"""Marks as they stand in a folded text, with the rules that they meet, by a sign of each.

Few texts have many of the signs, and a sign is found sooner than a text.
"""
for _name, _marks in MARKS.items():
    for _mark in map(_folded, _marks):
        _sign = next((each for each in _mark if not each.isalnum() and each != " "), _mark[0])
        _MARKED.setdefault(_sign, []).append((_mark, _name))
