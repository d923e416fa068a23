"""Requests as ready bytes, and the check of every reply."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from mcpcore_bench.load.jobs import Ask, Era

MODERN = "2026-07-28"
LEGACY = "2025-11-25"
INFO = {"name": "load", "version": "1"}
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": INFO,
}
HOLE = b"#######"
"""Where the id stands; ids have seven digits, so that all requests have one length."""
FIRST = 1_000_001
QUANTITY, PRICE = 3, 2.5

_TIME = rb'(?<="ttlMs":)[0-9]+'

encode = msgspec.json.encode
decode = msgspec.json.decode


class WrongReply(Exception):
    """A reply that does not answer its request."""


def digits(number: int) -> bytearray:
    """An id as it stands in messages, ready to be put into one."""
    return bytearray(b"%d" % number)


class Question:
    """What is asked: its method and name, its text with a hole for the id, what is expected."""

    def __init__(self, ask: Ask, era: Era) -> None:
        params, self._fits = _KINDS[ask.kind](ask.size)
        self.method = "tools/list" if ask.kind == "list" else "tools/call"
        self.name: str | None = params.get("name")
        if era == "modern":
            params = {**params, "_meta": META}
        self.era = era
        self._template = message(HOLE.decode(), self.method, params).replace(
            b'"' + HOLE + b'"', HOLE, 1
        )

    def body(self, number: int) -> bytes:
        """The message with an id."""
        return self._template.replace(HOLE, b"%d" % number)

    def check(self, number: int, reply: bytes) -> None:
        """Read a whole reply.  Raises WrongReply."""
        try:
            found = decode(reply)
        except msgspec.DecodeError as error:
            raise WrongReply(f"no JSON ({error}): {reply[:200]!r}") from None
        if not isinstance(found, dict) or found.get("id") != number:
            raise WrongReply(f"not the id {number}: {reply[:300]!r}")
        result = found.get("result")
        if not isinstance(result, dict) or result.get("isError"):
            raise WrongReply(f"no result: {reply[:300]!r}")
        if not self._fits(result, str(number)):
            raise WrongReply(f"not what was asked for with {number}: {reply[:300]!r}")


class Verifier:
    """Checks every reply of one server: the first by reading it, the others by comparing.

    A reply is right if it differs from one that was read in nothing but the id, wherever that
    stands in it, and in the digits of ``ttlMs``, which tell the time; one that differs otherwise is
    read as well.  The one that was read is kept, gets the id that is due and those digits, and is
    compared where the other one lies: no reply is copied for that.
    """

    def __init__(self, question: Question) -> None:
        self._check = question.check
        self._known = bytearray()
        self._places: tuple[slice, ...] = ()
        self._times: tuple[slice, ...] = ()
        self.read = 0
        """How many were read."""

    def knows(self, id: bytearray, reply: bytes | memoryview) -> bool:
        """Whether these bytes are a reply that was read, with another id and ``ttlMs``."""
        known = self._known
        if len(reply) != len(known):
            return False
        for place in self._places:
            known[place] = id
        for place in self._times:
            known[place] = reply[place]
        other: object = reply
        # In this order: memoryviews compare item by item, bytearrays whole.
        return known == other

    def check(self, id: bytearray, reply: bytes | memoryview) -> None:
        """Look at a reply.  Raises WrongReply."""
        if not self.knows(id, reply):
            whole = bytes(reply)
            self._check(int(id), whole)
            self._known = bytearray(whole)
            self._places, self._times = (
                tuple(slice(*found.span()) for found in re.finditer(pattern, whole))
                for pattern in (bytes(id), _TIME)
            )
            self.read += 1


def message(number: int | str | None, method: str, params: Mapping[str, Any]) -> bytes:
    """Encode a request, without a number a notification."""
    known: dict[str, Any] = {"jsonrpc": "2.0"}
    if number is not None:
        known["id"] = number
    return encode({**known, "method": method, "params": params})


def initialize(number: int, revision: str = LEGACY) -> bytes:
    """The first message of a legacy session."""
    params = {"protocolVersion": revision, "capabilities": {}, "clientInfo": INFO}
    return message(number, "initialize", params)


def opened(number: int, reply: bytes) -> None:
    """Read the answer to :func:`initialize`.  Raises WrongReply."""
    try:
        found = decode(reply)
        known = found["id"] == number and isinstance(found["result"]["protocolVersion"], str)
    except (msgspec.DecodeError, KeyError, TypeError):
        known = False
    if not known:
        raise WrongReply(f"initialize was answered with {reply[:200]!r}")


INITIALIZED = message(None, "notifications/initialized", {})

Fits = Callable[[dict[str, Any], str], bool]


def _echo(size: int) -> tuple[dict[str, Any], Fits]:
    rest = "x" * max(size - len(HOLE), 0)

    def fits(result: dict[str, Any], number: str) -> bool:
        return _text(result) == number + rest

    return {"name": "echo", "arguments": {"text": HOLE.decode() + rest}}, fits


def _total(size: int) -> tuple[dict[str, Any], Fits]:
    items = [
        {"sku": f"sku-{n}", "quantity": QUANTITY, "price": PRICE, "tags": ["new", "blue"]}
        for n in range(size)
    ]

    def fits(result: dict[str, Any], number: str) -> bool:
        found = result.get("structuredContent")
        return found == {"count": size, "total": size * QUANTITY * PRICE}

    return {"name": "total", "arguments": {"items": items}}, fits


def _long(size: int) -> tuple[dict[str, Any], Fits]:
    params, fits = _total(1)
    params["arguments"]["items"][0]["sku"] = "x" * size
    return params, fits


def _list(size: int) -> tuple[dict[str, Any], Fits]:
    def fits(result: dict[str, Any], number: str) -> bool:
        return len({tool["name"] for tool in result["tools"]}) == size

    return {}, fits


def _wait(size: int) -> tuple[dict[str, Any], Fits]:
    def fits(result: dict[str, Any], number: str) -> bool:
        return _text(result) == "waited"

    return {"name": "wait", "arguments": {"milliseconds": size}}, fits


def _text(result: dict[str, Any]) -> str | None:
    content = result.get("content") or [{}]
    text = content[0].get("text")
    return text if isinstance(text, str) else None


def _filler(number: int) -> tuple[dict[str, Any], Fits]:
    text = "x" * 200

    def fits(result: dict[str, Any], number: str) -> bool:
        return _text(result) == text

    return {"name": f"tool_{number}", "arguments": {"text": text}}, fits


_KINDS: dict[str, Callable[[int], tuple[dict[str, Any], Fits]]] = {
    "echo": _echo,
    "total": _total,
    "long": _long,
    "list": _list,
    "wait": _wait,
    "filler": _filler,
}
