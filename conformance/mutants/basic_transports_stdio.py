"""Mutants of messages as lines."""

import json
from collections.abc import Iterable
from typing import Any

from conformance.mutants.fault import Fault, Value
from conformance.mutants.faults import asks, hooked, instead, meta_of, reads, responds
from conformance.mutants.lists import also
from conformance.mutants.model import Table
from mcpcore.spec.types.base import META_CLIENT_CAPABILITIES
from mcpcore_conformance.kit import messages
from mcpcore_conformance.kit.heard import Heard, Text
from mcpcore_conformance.kit.messages import encode

table = Table("basic/transports/stdio")

READER_LIMIT = 65536
PIPE = 65536
"""Bytes that a pipe holds."""


@table.server("indented", "no-embedded-newlines")
class _Indents(Fault):
    """Sends its messages indented, over several lines."""

    def heard(self, heard: Heard) -> Iterable[Heard]:
        if not isinstance(heard, Text):
            return (heard,)
        lines = json.dumps(json.loads(heard.data), indent=1).encode().splitlines()
        return [Text(line, heard.exchange, heard.event_id, heard.at) for line in lines]


class Drops(Fault):
    """Drops what it cannot write at once, as the client does not read."""

    _room: int | None = None

    def attribute(self, name: str, value: Any) -> Any:
        """See :class:`~conformance.mutants.fault.Fault`."""
        if name == "rest":
            self._room = PIPE
        return value

    def heard(self, heard: Heard) -> Iterable[Heard]:
        """See :class:`~conformance.mutants.fault.Fault`."""
        if self._room is None or not isinstance(heard, Text):
            return (heard,)
        self._room -= len(heard.data)
        return (heard,) if self._room > 0 else ()


@table.server("deaf-behind-long-line", "too-large-message")
class _ReadsOn(Fault):
    """Reads nothing behind a line that is too long."""

    _deaf = False

    def written(self, data: bytes) -> bytes | None:
        self._deaf = self._deaf or len(data) > 2**22
        return None if self._deaf else data


table.server("splits-at-separators", "separators-within-strings").does(
    "Ends lines where Unicode has line separators.",
    reads(lambda data: "\n".join([*data.decode().splitlines(), ""]).encode()),
)
table.server("carriage-return-kept", "carriage-returns").does(
    "Takes the CR before LF for a part of the message.",
    reads(lambda data: data.replace(b"\r\n", b"x\n")),
)
table.server("blank-line-refused", "blank-lines").does(
    "Answers blank lines with an error.", reads(lambda data: data.replace(b"\n\n", b"\nx\n"))
)
table.server("blanks-refused", "blanks-around").does(
    "Wants a message to begin with a brace.",
    reads(lambda data: b"x" + data if data.startswith(b" ") else data),
)
table.server("read-is-a-line", "byte-by-byte").does(
    "Takes everything that it reads at once for a message.",
    reads(lambda data: data if data.endswith(b"\n") else data + b"\n"),
)
table.server("decodes-what-it-reads", "split-within-characters").does(
    "Decodes what it reads before it has a whole line.",
    reads(lambda data: data.decode("utf-8", "replace").encode()),
)
table.server("one-line-per-read", "several-at-once").does(
    "Takes the first line of what it reads at once.",
    reads(lambda data: data.partition(b"\n")[0] + b"\n"),
)
table.server("hundred-lines", "many-at-once").does(
    "Loses what comes while it writes.",
    reads(lambda data: b"".join(data.splitlines(keepends=True)[:100])),
)
table.server("drops-answers", "slow-reader").does("Drops what it cannot write at once.", Drops)
table.server("reader-limit", "large-message").does(
    "Cannot read lines of more than 64 KiB.",
    reads(lambda data: None if len(data) > READER_LIMIT else data),
)
table.server("logs-to-stdout", "nothing-but-messages").does(
    "Logs calls to its standard output.", also("tools/call", b"INFO: called")
)
table.server("prints-to-stdout", "noise-kept-away").does(
    "Lets handlers print between its messages.", also("tools/call", b"INFO: called")
)
table.server("stderr-in-latin", "stderr-is-text").does(
    "Writes Latin-1 to standard error.",
    command=("-m", "conformance.mutants.programs.stdio_server", "--latin"),
)


PROGRAM = ("-m", "conformance.mutants.programs.stdio_server")


table.server("waits-for-input", "end-of-input-at-once", "end-within-a-line").does(
    "Does not notice that its input has ended.", hooked(finished=lambda: False)
)


@table.server("drops-at-the-end", "answers-before-the-end")
class _Drops(Fault):
    """Forgets what it was asked when the input ends."""

    _over = False

    def finished(self) -> bool:
        self._over = True
        return True

    def message(self, value: Value) -> Iterable[Value | bytes]:
        return () if self._over else (value,)


table.server("writes-requests", "no-requests").does(
    "Writes a request before its result.",
    also("tools/call", messages.request("mutant", "sampling/createMessage", {})),
)
table.server("answers-cancelled", "silent-afterwards").does(
    "Answers requests that were cancelled.",
    responds(
        asks("notifications/cancelled"),
        lambda value: messages.result(
            value["params"]["requestId"], {"resultType": "complete", "content": [], "isError": True}
        ),
    ),
)


@table.server("remembers-capabilities", "nothing-is-kept")
class _Remembers(Fault):
    """Takes what one request has declared for what all have."""

    _known: Value = {}

    def said(self, value: Any, payload: bytes) -> bytes | None:
        meta = meta_of(value)
        if META_CLIENT_CAPABILITIES not in meta:
            return payload
        self._known |= meta[META_CLIENT_CAPABILITIES]
        meta[META_CLIENT_CAPABILITIES] = self._known
        return encode(value)


table.server("hangs", "end-of-input").does(
    "Goes on when there is nothing to read any more.", command=(*PROGRAM, "--hangs")
)
table.server("waits-for-calls", "end-of-input-with-calls").does(
    "Waits for calls before it ends.", command=(*PROGRAM, "--hangs-in-calls")
)
table.server("ends-with-3", "exit-status").does(
    "Ends with exit status 3.", command=(*PROGRAM, "--status", "3")
)
table.server("leaves-children", "nothing-left-behind").does(
    "Leaves a program behind.", command=(*PROGRAM, "--leaves-children")
)
table.server("deaf-to-signals", "terminated", "terminated-with-calls").does(
    "Ignores SIGTERM.", command=(*PROGRAM, "--deaf-to-signals")
)
table.server("answers-responses", "response-does-no-harm").does(
    "Answers responses.",
    instead(
        lambda value: isinstance(value, dict) and "result" in value,
        lambda value: messages.result(value["id"], {"resultType": "complete"}),
    ),
)
