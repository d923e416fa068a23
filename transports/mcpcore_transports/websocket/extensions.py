"""Extension header of WebSocket: offers, answers and the agreed parameters.

Sources: RFC 6455 section 9.1 (the header), RFC 7692 section 7.1 (``permessage-deflate``).
"""

import re
from collections.abc import Sequence

from mcpcore_transports.websocket.deflate import DEFLATE, Deflate
from mcpcore_transports.websocket.settings import DeflateSettings

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # noqa: S105 - as RFC 9110 calls it
_EXTENSION = re.compile(rf"\s*({_TOKEN})\s*")
_PARAMETER = re.compile(rf'\s*({_TOKEN})\s*(?:=\s*(?:({_TOKEN})|"({_TOKEN})")\s*)?')
_BITS = re.compile(r"[89]|1[0-5]")

_SERVER_FRESH = "server_no_context_takeover"
_CLIENT_FRESH = "client_no_context_takeover"
_SERVER_BITS = "server_max_window_bits"
_CLIENT_BITS = "client_max_window_bits"

Parameters = dict[str, str | None]
"""Parameters of one extension, by name."""


def offer_deflate(settings: DeflateSettings) -> str:
    """Return the offer of a client."""
    words = [DEFLATE, _CLIENT_BITS]
    if settings.window_bits < 15:
        words.append(f"{_SERVER_BITS}={settings.window_bits}")
    if not settings.context_takeover:
        words += [_CLIENT_FRESH, _SERVER_FRESH]
    return "; ".join(words)


def accept_deflate(
    offers: Sequence[str], settings: DeflateSettings | None
) -> tuple[str, Deflate] | None:
    """Accept the first suitable offer at a server, from the values of Sec-WebSocket-Extensions.

    Returns the answer and the extension to use, or None.  Raises ValueError for malformed offers.
    """
    for name, pairs in parse_extensions(offers):
        asked = _read(pairs, bits_optional=True) if name == DEFLATE else None
        if settings is None or asked is None:
            continue
        bits = min(settings.window_bits, int(asked.get(_SERVER_BITS) or 15))
        if bits < 9:
            continue  # zlib has no such window
        fresh = not settings.context_takeover
        answer: Parameters = {}
        if fresh or _SERVER_FRESH in asked:
            answer[_SERVER_FRESH] = None
        if fresh or _CLIENT_FRESH in asked:
            answer[_CLIENT_FRESH] = None
        if bits < 15 or asked.get(_SERVER_BITS):
            answer[_SERVER_BITS] = str(bits)
        if _CLIENT_BITS in asked and settings.window_bits < 15:
            most = min(settings.window_bits, int(asked[_CLIENT_BITS] or 15))
            answer[_CLIENT_BITS] = str(most)
        words = [key if value is None else f"{key}={value}" for key, value in answer.items()]
        deflate = Deflate(
            settings,
            bits=bits,
            fresh_out=_SERVER_FRESH in answer,
            fresh_in=_CLIENT_FRESH in answer,
        )
        return "; ".join([DEFLATE, *words]), deflate
    return None


def finish_deflate(answers: Sequence[str], settings: DeflateSettings | None) -> Deflate | None:
    """Read the server's answer at a client.  Raises ValueError for an extension not offered."""
    found = parse_extensions(answers)
    if not found:
        return None
    if settings is None or len(found) > 1 or found[0][0] != DEFLATE:
        names = ", ".join(name for name, _ in found)
        raise ValueError(f"it uses an extension that was not offered: {names[:100]}")
    agreed = _read(found[0][1], bits_optional=False)
    if agreed is None:
        raise ValueError(f"the parameters of its {DEFLATE} are malformed")
    if not settings.context_takeover and _SERVER_FRESH not in agreed:
        raise ValueError(f"it does not agree to {_SERVER_FRESH}")
    if int(agreed.get(_SERVER_BITS) or 15) > settings.window_bits:
        raise ValueError(f"it does not agree to {_SERVER_BITS}={settings.window_bits}")
    bits = min(settings.window_bits, int(agreed.get(_CLIENT_BITS) or 15))
    if bits < 9:
        raise ValueError("a window of 8 bits cannot be had here")
    return Deflate(
        settings,
        bits=bits,
        fresh_out=_CLIENT_FRESH in agreed or not settings.context_takeover,
        fresh_in=_SERVER_FRESH in agreed,
    )


def _read(pairs: Sequence[tuple[str, str | None]], *, bits_optional: bool) -> Parameters | None:
    """Return the parameters by name; None if they are invalid for this extension (section 7.1)."""
    read: Parameters = {}
    for name, value in pairs:
        if name in read:
            return None
        if name in (_SERVER_FRESH, _CLIENT_FRESH):
            fits = value is None
        elif name in (_SERVER_BITS, _CLIENT_BITS):
            if value is None:
                fits = bits_optional and name == _CLIENT_BITS
            else:
                fits = _BITS.fullmatch(value) is not None
        else:
            fits = False
        if not fits:
            return None
        read[name] = value
    return read


def parse_extensions(values: Sequence[str]) -> list[tuple[str, list[tuple[str, str | None]]]]:
    """Parse Sec-WebSocket-Extensions (RFC 6455 section 9.1).  Raises ValueError."""
    found: list[tuple[str, list[tuple[str, str | None]]]] = []
    text = ",".join(values)
    at = 0
    while at < len(text):
        if text[at] in ", \t":
            at += 1
            continue
        match = _EXTENSION.match(text, at)
        if match is None:
            raise ValueError("Sec-WebSocket-Extensions is malformed")
        pairs: list[tuple[str, str | None]] = []
        found.append((match[1], pairs))
        at = match.end()
        while at < len(text) and text[at] == ";":
            match = _PARAMETER.match(text, at + 1)
            if match is None:
                raise ValueError("Sec-WebSocket-Extensions is malformed")
            pairs.append((match[1], match[2] or match[3]))
            at = match.end()
        if at < len(text) and text[at] != ",":
            raise ValueError("Sec-WebSocket-Extensions is malformed")
    return found
