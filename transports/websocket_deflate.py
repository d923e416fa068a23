"""The bounds that wsproto leaves to its user, and compressed messages within bounds.

wsproto unfolds all of a frame that has arrived at once, whatever comes of it.  Here a message that
is too large ends the connection when its length is announced, and a compressed one as soon as one
byte too many has come out: no more than that is ever unfolded.

Sources: RFC 6455 sections 5.2 and 9, RFC 7692.
"""

import zlib

from wsproto.extensions import Extension
from wsproto.frame_protocol import CloseReason, FrameDecoder, FrameProtocol, Opcode, RsvBits

from transports.websocket_reasons import NOT_UTF_8
from transports.websocket_settings import DeflateSettings

DEFLATE = "permessage-deflate"
"""The name of the one extension."""

_FREE = 1024 * 1024
"""Bytes that may come out of one message whatever the ratio."""
_RESTARTS = 16
"""Final blocks (RFC 7692 section 7.2.3.4) that one message may have."""
_TRY_AGAIN, _BAD_GATEWAY = b"\x03\xf5", b"\x03\xf6"
"""1013 and 1014, as a close frame has them."""
_SURROGATES, _FIRST_OF_THEM = 0xED, 0xA0
_TAIL = b"\x00\x00\xff\xff"
_LAST = b"\x01\x00\x00\xff\xff"
_WIDEST = -zlib.MAX_WBITS

Payload = bytes | CloseReason
Codec = FrameDecoder | FrameProtocol


class Bounds(Extension):
    """Bounds the bytes of one message; knows of no compression."""

    name = "bounds"

    def __init__(self) -> None:
        self.limit = 0
        """The most bytes of a message; for the connection to set."""
        self.problem = ""
        """Why the connection was failed, if it was for what stands here."""
        self.bad_gateway = 0
        """1014 if the other side has closed with that code."""
        self._given = 0  # bytes of the current message, unfolded
        self._begun = False  # a message that has not ended
        self._last = b""  # the last bytes of it
        self._control = self._closes = False
        self._compressed = False

    def enabled(self) -> bool:
        """See wsproto: always."""
        return True

    def offer(self) -> bool | str:
        """See wsproto: what is offered is not for it to say."""
        return False

    def frame_inbound_header(
        self, proto: Codec, opcode: Opcode, rsv: RsvBits, payload_length: int
    ) -> CloseReason | RsvBits:
        """Look at a frame before its payload: what is wrong with it is wrong at once.

        wsproto asks again if the head has come in pieces, so that nothing is counted here.
        """
        self._control, self._closes = opcode.iscontrol(), opcode is Opcode.CLOSE
        if self._control:
            return self._used(opcode)
        continues = opcode is Opcode.CONTINUATION
        if continues is not self._begun:
            known = "before the last one ended" if self._begun else "that was never begun"
            self.problem = f"a message {known}"
            return CloseReason.PROTOCOL_ERROR
        if opcode is Opcode.BINARY:
            self.problem = "messages are text frames"
            return CloseReason.UNSUPPORTED_DATA
        if not continues:
            self._given, self._last = 0, b""
            self._compressed = self._marks and rsv.rsv1
        if not self._compressed and self._given + payload_length > self.limit:
            return self._too_large()
        return self._used(opcode)

    _marks = False

    def _used(self, opcode: Opcode) -> RsvBits:
        """The reserved bits that may be set."""
        return RsvBits(False, False, False)

    def frame_inbound_payload_data(self, proto: Codec, data: bytes) -> Payload:
        """Take a part of a payload."""
        if self._closes and data.startswith(_BAD_GATEWAY):
            # Registered later than those that wsproto takes: shown to it as the one before.
            self.bad_gateway = 1014
            return _TRY_AGAIN + data[2:]
        if self._control:
            return data
        self._given += len(data)
        return self._ending(data)

    def frame_inbound_complete(self, proto: Codec, fin: bool) -> Payload | None:
        """Take note of the end of a frame."""
        if not self._control:
            self._begun = not fin
        return None

    def _ending(self, data: bytes) -> Payload:
        """Refuse half a surrogate at the end, which Python's decoder takes for a beginning."""
        self._last = last = data[-2:] if len(data) > 1 else (self._last + data)[-2:]
        if len(last) == 2 and last[0] == _SURROGATES and last[1] >= _FIRST_OF_THEM:
            self.problem = NOT_UTF_8
            return CloseReason.INVALID_FRAME_PAYLOAD_DATA
        return data

    def _too_large(self) -> CloseReason:
        self.problem = f"longer than {self.limit} bytes"
        return CloseReason.MESSAGE_TOO_BIG


class Deflate(Bounds):
    """``permessage-deflate`` as one end has agreed to it; within the same bounds."""

    name = DEFLATE
    _marks = True

    def __init__(
        self, settings: DeflateSettings, *, bits: int, fresh_out: bool, fresh_in: bool
    ) -> None:
        """``fresh``: this direction's messages stand on their own; ``bits``: our window."""
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
        """Unfold a part of a payload."""
        if self._control or not self._compressed:
            return super().frame_inbound_payload_data(proto, data)
        self._taken += len(data)
        return self._inflate(data)

    def frame_inbound_complete(self, proto: Codec, fin: bool) -> Payload | None:
        """Unfold what is left at the end of a message."""
        super().frame_inbound_complete(proto, fin)
        if self._control or not (fin and self._compressed):
            return None
        rest = self._inflate(_TAIL)
        if self._taken and not isinstance(rest, CloseReason) and not self._whole():
            rest = self._broken("the compressed data is cut off")
        self._compressed = False
        if self._fresh_in:
            self._inflater = None
        return rest

    def _inflate(self, data: bytes) -> Payload:
        parts: list[bytes] = []
        while True:
            if self._inflater is None:
                self._inflater = zlib.decompressobj(_WIDEST)  # can read what has any window
            most = min(self.limit, max(_FREE, self._taken * self._settings.ratio))
            try:
                # One byte more than there may be tells all, and nothing is held back below it.
                part = self._inflater.decompress(data, max(1, most - self._given + 1))
            except zlib.error:
                return self._broken("the compressed data is broken")
            self._given += len(part)
            if self._given > self.limit:
                return self._too_large()
            if self._given > most:
                self.problem = f"unfolds to more than {self._settings.ratio} times its size"
                return CloseReason.MESSAGE_TOO_BIG
            parts.append(part)
            if not self._inflater.eof:
                return self._ending(b"".join(parts))
            # A final block: what follows is a stream of its own, which refers to nothing before.
            data = self._inflater.unused_data
            self._inflater = None
            self._restarts += 1
            if self._restarts > _RESTARTS:
                return self._broken("the compressed data ends too often")

    def _whole(self) -> bool:
        """Whether the message ended where a block did: a last one can follow then."""
        if self._inflater is None:
            return True
        after = self._inflater if self._fresh_in else self._inflater.copy()
        try:
            after.decompress(_LAST)
        except zlib.error:
            return False
        return after.eof

    def _broken(self, problem: str) -> CloseReason:
        self.problem = problem
        return CloseReason.INVALID_FRAME_PAYLOAD_DATA

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
