"""Bounds on WebSocket messages that wsproto does not enforce, and bounded compression.

wsproto decompresses all that has arrived, without any limit.  Here a message that is too large ends
the connection when its length is announced, a compressed one with the first byte too many.

Sources: RFC 6455 sections 5.2 and 9.1 (frames, extension headers), RFC 7692.
"""

import re
import zlib
from collections.abc import Sequence

from wsproto.extensions import Extension
from wsproto.frame_protocol import CloseReason, FrameDecoder, FrameProtocol, Opcode, RsvBits

from mcpcore.spec import closes
from mcpcore_transports.websocket.settings import DeflateSettings

DEFLATE = "permessage-deflate"
"""Name of the only extension."""

_FREE = 1024 * 1024
"""Bytes that one message may decompress to at any ratio."""
_RESTARTS = 16
"""Maximum number of final blocks (RFC 7692 section 7.2.3.4) in one message."""
_TRY_AGAIN, _BAD_GATEWAY = b"\x03\xf5", b"\x03\xf6"
"""Codes 1013 and 1014, as encoded in a close frame."""
_SURROGATES, _FIRST_OF_THEM = 0xED, 0xA0
_TAIL = b"\x00\x00\xff\xff"
_LAST = b"\x01\x00\x00\xff\xff"
_WIDEST = -zlib.MAX_WBITS

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

Payload = bytes | CloseReason
Codec = FrameDecoder | FrameProtocol


class Bounds(Extension):
    """Extension that bounds the bytes of one message, without compression."""

    name = "bounds"

    def __init__(self) -> None:
        self.limit = 0
        """Maximum bytes of a message; set by the connection."""
        self.failed: closes.CloseRow | None = None
        """Close with which this extension failed the connection."""
        self.bad_gateway = 0
        """1014 if the peer has closed with that code, else 0."""
        self._given = 0  # bytes of the current message, decompressed
        self._begun = False  # a message that has not ended
        self._last = b""  # the last bytes of it
        self._control = self._closes = False
        self._compressed = False

    def enabled(self) -> bool:
        """Implement :meth:`wsproto.extensions.Extension.enabled`: always True."""
        return True

    def offer(self) -> bool | str:
        """Implement :meth:`wsproto.extensions.Extension.offer`: it makes no offer itself."""
        return False

    def frame_inbound_header(
        self, proto: Codec, opcode: Opcode, rsv: RsvBits, payload_length: int
    ) -> CloseReason | RsvBits:
        """Check a frame before its payload, so that a fault is found at once.

        wsproto calls this again if the head has come in pieces, so nothing is counted here.
        """
        self._control, self._closes = opcode.iscontrol(), opcode is Opcode.CLOSE
        if self._control:
            return self._used(opcode)
        continues = opcode is Opcode.CONTINUATION
        if continues is not self._begun:
            return self._fail(closes.INTERLEAVED if self._begun else closes.NOT_BEGUN)
        if opcode is Opcode.BINARY:
            return self._fail(closes.NOT_TEXT)
        if not continues:
            self._given, self._last = 0, b""
            self._compressed = self._marks and rsv.rsv1
        if not self._compressed and self._given + payload_length > self.limit:
            return self._fail(closes.TOO_LONG.filled(limit=self.limit))
        return self._used(opcode)

    _marks = False

    def _used(self, opcode: Opcode) -> RsvBits:
        """Return the reserved bits that may be set."""
        return RsvBits(False, False, False)

    def frame_inbound_payload_data(self, proto: Codec, data: bytes) -> Payload:
        """Process a part of a payload."""
        if self._closes and data.startswith(_BAD_GATEWAY):
            # Registered later than the codes that wsproto accepts: it gets the one before.
            self.bad_gateway = 1014
            return _TRY_AGAIN + data[2:]
        if self._control:
            return data
        self._given += len(data)
        return self._ending(data)

    def frame_inbound_complete(self, proto: Codec, fin: bool) -> Payload | None:
        """Record the end of a frame."""
        if not self._control:
            self._begun = not fin
        return None

    def _ending(self, data: bytes) -> Payload:
        """Refuse half a surrogate at the end, which Python's decoder takes for a beginning."""
        self._last = last = data[-2:] if len(data) > 1 else (self._last + data)[-2:]
        if len(last) == 2 and last[0] == _SURROGATES and last[1] >= _FIRST_OF_THEM:
            return self._fail(closes.NOT_UTF_8)
        return data

    def _fail(self, close: closes.CloseRow) -> CloseReason:
        self.failed = close
        return CloseReason(close.code)


class Deflate(Bounds):
    """Extension ``permessage-deflate`` with the agreed parameters, within the same bounds."""

    name = DEFLATE
    _marks = True

    def __init__(
        self, settings: DeflateSettings, *, bits: int, fresh_out: bool, fresh_in: bool
    ) -> None:
        """Set the parameters: ``bits`` of our window, True for a direction without context."""
        super().__init__()
        self._settings = settings
        self._bits = bits
        self._fresh_out, self._fresh_in = fresh_out, fresh_in
        self._taken = self._restarts = 0
        self._inflater: zlib._Decompress | None = None
        self._deflater: zlib._Compress | None = None

    def _used(self, opcode: Opcode) -> RsvBits:
        first = opcode is Opcode.TEXT
        if first:
            self._taken = self._restarts = 0
        return RsvBits(first, False, False)

    def frame_inbound_payload_data(self, proto: Codec, data: bytes) -> Payload:
        """Decompress a part of a payload."""
        if self._control or not self._compressed:
            return super().frame_inbound_payload_data(proto, data)
        self._taken += len(data)
        return self._inflate(data)

    def frame_inbound_complete(self, proto: Codec, fin: bool) -> Payload | None:
        """Decompress the rest at the end of a message."""
        super().frame_inbound_complete(proto, fin)
        if self._control or not (fin and self._compressed):
            return None
        rest = self._inflate(_TAIL)
        if self._taken and not isinstance(rest, CloseReason) and not self._whole():
            rest = self._broken("is cut off")
        self._compressed = False
        if self._fresh_in:
            self._inflater = None
        return rest

    def _inflate(self, data: bytes) -> Payload:
        parts: list[bytes] = []
        while True:
            if self._inflater is None:
                self._inflater = zlib.decompressobj(_WIDEST)  # can decode any window size
            most = min(self.limit, max(_FREE, self._taken * self._settings.ratio))
            try:
                # One byte more than allowed shows the excess, and no output is held back below it.
                part = self._inflater.decompress(data, max(1, most - self._given + 1))
            except zlib.error:
                return self._broken("is broken")
            self._given += len(part)
            if self._given > self.limit:
                return self._fail(closes.TOO_LONG.filled(limit=self.limit))
            if self._given > most:
                return self._fail(closes.TOO_DENSE.filled(ratio=self._settings.ratio))
            parts.append(part)
            if not self._inflater.eof:
                return self._ending(b"".join(parts))
            # A final block: a new stream follows, without references to data before it.
            data = self._inflater.unused_data
            self._inflater = None
            self._restarts += 1
            if self._restarts > _RESTARTS:
                return self._broken("ends too often")

    def _whole(self) -> bool:
        """Return True if the message ended at the end of a block, so that a last one can follow."""
        if self._inflater is None:
            return True
        after = self._inflater if self._fresh_in else self._inflater.copy()
        try:
            after.decompress(_LAST)
        except zlib.error:
            return False
        return after.eof

    def _broken(self, fault: str) -> CloseReason:
        return self._fail(closes.NOT_DEFLATED.filled(fault=fault))

    def frame_outbound(
        self, proto: Codec, opcode: Opcode, rsv: RsvBits, data: bytes, fin: bool
    ) -> tuple[RsvBits, bytes]:
        """Compress a whole message, unless that is not worth it."""
        if opcode.iscontrol() or len(data) < self._settings.threshold:
            return rsv, data
        if self._deflater is None:
            self._deflater = zlib.compressobj(self._settings.level, zlib.DEFLATED, -self._bits)
        packed = self._deflater.compress(data) + self._deflater.flush(zlib.Z_SYNC_FLUSH)
        if self._fresh_out:
            self._deflater = None
            if len(packed) >= len(data):
                return rsv, data
        return RsvBits(True, rsv.rsv2, rsv.rsv3), packed[: -len(_TAIL)]


# Negotiation


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
            settings, bits=bits, fresh_out=_SERVER_FRESH in answer, fresh_in=_CLIENT_FRESH in answer
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
        elif value is None:
            fits = bits_optional and name == _CLIENT_BITS
        else:
            fits = name in (_SERVER_BITS, _CLIENT_BITS) and _BITS.fullmatch(value) is not None
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
