"""Mutants that read frames of WebSocket in their own way."""

import struct
from collections.abc import Callable
from typing import Any

from conformance.mutants.edits import drop
from conformance.mutants.fault import Breaks, Fault
from conformance.mutants.faults import alters, hooked, reads
from conformance.mutants.model import Table
from mcpcore_conformance.kit.bindings.websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    encoded,
)
from mcpcore_conformance.kit.heard import Event, Gone, Text
from mcpcore_conformance.kit.wire import Refused

table = Table("rfc6455")

OPCODE, FIN, MASKED = 0x0F, 0x80, 0x80
Edit = Callable[[bytes], bytes | None]
_SHORT, _MEDIUM, _LONG = 126, 126, 127


class Frame:
    """A frame that the kit has written: taken apart, to be written in another way."""

    def __init__(self, data: bytes) -> None:
        self.opcode, self.fin = data[0] & OPCODE, bool(data[0] & FIN)
        self.reserved = data[0] & 0x70
        self.masked = bool(data[1] & MASKED)
        size, at = data[1] & 0x7F, 2
        if size == _MEDIUM:
            size, at = struct.unpack_from("!H", data, 2)[0], 4
        elif size == _LONG:
            size, at = struct.unpack_from("!Q", data, 2)[0], 10
        key = data[at : at + 4] if self.masked else bytes(4)
        at += 4 if self.masked else 0
        body = data[at : at + size]
        self.payload = bytes(one ^ key[index % 4] for index, one in enumerate(body))
        self.size = at + size

    def encoded(self) -> bytes:
        """The frame as it should be."""
        return encoded(self.opcode, self.payload, fin=self.fin)


class _Frames(Fault):
    """Changes or drops frames before the server sees them."""

    edit: Callable[[Frame], bytes | None]

    def written(self, data: bytes) -> bytes | None:
        made: list[bytes] = []
        while data:
            frame = Frame(data)
            edited = self.edit(frame)
            if edited is not None:
                made.append(edited if edited else data[: frame.size])
            data = data[frame.size :]
        return b"".join(made) or None


def frames(edit: Callable[[Frame], bytes | None]) -> Breaks:
    """What the server sees of a frame: b"" for the frame as it is, None for nothing."""
    return lambda: _Frames(edit)


def overlooks(test: Callable[[Frame], bool]) -> Breaks:
    """Frames that pass the test are passed over."""
    return frames(lambda frame: None if test(frame) else b"")


table.server("empty-pongs", "ping-answered").does(
    "Answers pings with empty pongs.", alters(Event, lambda event: event.name == "pong", data=b"")
)
table.server("vanishes", "close-answered").does(
    "Closes without a closing frame.", alters(Gone, code=None)
)


@table.server("reads-behind-close", "nothing-behind-close")
class _AnswersLate(Fault):
    """Answers what comes behind a closing frame."""

    def written(self, data: bytes) -> bytes | None:
        close = Frame(data)
        rest = data[close.size :]
        if close.opcode == CLOSE and rest:
            self._answers.append(Text(b'{"jsonrpc":"2.0","id":"kit-late","result":{}}'))
        return data


def _mends_text(frame: Frame) -> bytes:
    text = frame.payload.decode("utf-8", "replace").encode()
    return encoded(frame.opcode, text, fin=frame.fin)


def _normal_close(frame: Frame) -> bytes:
    """Takes whatever is in a closing frame for a good end."""
    return encoded(CLOSE, struct.pack("!H", 1000)) if frame.opcode == CLOSE else b""


table.server("any-code", "codes-that-are-none").does(
    "Takes every closing code.", reads(lambda data: _normal_close(Frame(data)) or data)
)
table.server("continuation-overlooked", "continuation-of-nothing").does(
    "Passes over continuations of nothing.",
    reads(lambda data: None if Frame(data).opcode == CONTINUATION else data),
)
table.server("mask-not-needed", "unmasked").does(
    "Takes frames without mask.", frames(lambda frame: b"" if frame.masked else frame.encoded())
)
table.server("reserved-bits-overlooked", "reserved-bits").does(
    "Does not look at reserved bits.",
    frames(lambda frame: frame.encoded() if frame.reserved else b""),
)
table.server("unknown-opcodes-overlooked", "reserved-opcodes").does(
    "Passes over frames of kinds that it does not know.",
    overlooks(lambda frame: frame.opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG)),
)
table.server("no-long-frames", "lengths").does(
    "Cannot read lengths of 64 bits.", overlooks(lambda frame: len(frame.payload) > 65_535)
)
table.server("no-fragments", "fragments").does(
    "Takes the first frame of a message for all of it.",
    frames(
        lambda frame: (
            encoded(frame.opcode, frame.payload)
            if frame.opcode == TEXT
            else (None if frame.opcode == CONTINUATION else b"")
        )
    ),
)
table.server("ping-ends-message", "control-between-fragments").does(
    "Does not answer pings while a message comes.",
    overlooks(lambda frame: frame.opcode == PING and frame.payload == b"between"),
)
table.server("message-begins-anew", "message-within-message").does(
    "Forgets a message when another one begins.",
    overlooks(lambda frame: frame.opcode in (TEXT, BINARY) and not frame.fin),
)
table.server("control-fragments-taken", "control-in-fragments").does(
    "Takes control frames in fragments.",
    frames(lambda frame: b"" if frame.fin else encoded(frame.opcode, frame.payload)),
)
table.server("long-pings-taken", "control-too-long").does(
    "Takes pings of any length.",
    overlooks(lambda frame: frame.opcode == PING and len(frame.payload) > 125),
)
table.server("pong-refused", "pong-unasked").does(
    "Ends the connection on a pong that it has not asked for.",
    frames(lambda frame: encoded(3, b"") if frame.opcode == PONG else b""),
)
table.server("half-codes-overlooked", "close-malformed").does(
    "Passes over closing frames that it cannot read.",
    overlooks(lambda frame: frame.opcode == CLOSE),
)
table.server("text-mended", "not-utf8").does(
    "Puts something else in the place of what is no UTF-8.",
    frames(lambda frame: _mends_text(frame) if frame.opcode == TEXT else b""),
)
table.server("frames-decoded-alone", "characters-over-fragments").does(
    "Decodes each frame by itself.",
    frames(lambda frame: _mends_text(frame) if frame.opcode in (TEXT, CONTINUATION) else b""),
)


def opens(*options: str) -> Breaks:
    """The server sees a good opening in place of what these options make of it."""
    return hooked(connecting=drop(*options))


def refuses(test: Callable[[dict[str, Any]], bool], status: int = 400) -> Breaks:
    """Openings whose options pass the test are refused."""

    def connecting(options: dict[str, Any]) -> dict[str, Any]:
        if test(options):
            raise Refused(f"HTTP status {status}", status=status)
        return options

    return hooked(connecting=connecting)


def shows(name: str, shown: Any) -> Breaks:
    """The response to the opening has this."""
    return hooked(attribute=lambda found, value: shown if found == name else value)


def answers(edit: Callable[[Refused], Refused]) -> Breaks:
    """Refusals are other ones."""
    return hooked(refused=edit)


table.server("versions-not-named", "other-version").does(
    "Refuses other versions without naming its own.",
    answers(lambda refused: Refused(refused.reason, status=refused.status)),
)
table.server("any-version", "other-version").does("Does not look at the version.", opens("edit"))
table.server("any-key", "key-malformed").does("Takes any key.", opens("edit"))
table.server("unasked", "no-upgrade").does("Upgrades without being asked to.", opens("edit"))
table.server("any-method", "other-method").does("Upgrades on POST, too.", opens("edit"))
table.server("literally", "upgrade-in-any-case").does(
    "Compares the words of an opening letter by letter.",
    refuses(lambda options: options.get("edit") is not None),
)
table.server("chooses-for-itself", "chosen-from-offered").does(
    "Chooses a subprotocol that nobody has offered.", shows("subprotocol", "mcp.v2")
)
table.server("compresses-unasked", "no-extension-unasked").does(
    "Agrees on compression that nobody has offered.",
    shows("accepted", [("sec-websocket-extensions", "permessage-deflate")]),
)
table.server("any-origin", "foreign-origin").does("Does not look at Origin.", opens("headers"))
table.server("origin-needed", "no-origin").does(
    "Lets nobody in who sends no Origin.", refuses(lambda options: not options.get("headers"), 403)
)
