"""Recording of the traffic of a client or a server, for later inspection.

::

    await serve(server, http="127.0.0.1:8000", trace="server.jsonl")
    async with connect(url, trace="client.jsonl") as client: ...

Secrets are removed before anything is written.  The format is that of :mod:`mcpcore.trace.format`;
docs/how-to/traces.md describes it.  A connection whose ``trace`` is None pays for one comparison
per read or write.
"""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from threading import Lock
from typing import Any

from msgspec import Struct

from mcpcore.http.messages import HttpRequest
from mcpcore.trace.format import (
    FORMAT,
    RECORD_SIZE,
    TO_CLIENT,
    TO_SERVER,
    Header,
    Kind,
    Record,
    RecordBuilder,
    Redactor,
    Side,
    encode_line,
)
from mcpcore.trace.framing import Held, Lines
from mcpcore.wire.redaction import shown_url
from mcpcore_transports.link import clock
from mcpcore_transports.running.cancellation import failure_of

__all__ = ["ConnectionTrace", "Trace", "TraceSettings", "TraceTo", "tracing"]

logger = logging.getLogger("mcpcore.tracing")


class TraceSettings(Struct, frozen=True, kw_only=True):
    """Settings of a trace.  Sizes are in bytes."""

    secrets: bool = False
    """True to keep secrets: tokens, cookies, session ids, passwords."""
    record_size: int = RECORD_SIZE
    """Maximum bytes of a message in one record; the record tells how much was cut."""
    file_size: int = 64 * 1024 * 1024
    """Maximum bytes of a trace; a record of kind ``full`` is then the last."""
    held_size: int = 4 * 1024 * 1024
    """Maximum bytes of an incomplete message that are held in order to classify it."""


class Trace:
    """Trace: a file, or a function that gets its lines.

    May be shared by any number of connections, of one side.  Recording never makes the traffic
    fail: if the file cannot be written, that is logged once and the trace ends.  Raises OSError if
    it cannot be opened.  The file is created anew, readable by its owner alone.
    """

    def __init__(
        self,
        to: "str | os.PathLike[str] | Callable[[bytes], object]",
        *,
        settings: TraceSettings | None = None,
    ) -> None:
        self.settings = settings or TraceSettings()
        self.name = "" if callable(to) else os.fspath(to)
        """Name of the file."""
        self._began = clock()
        self._wall = datetime.now(UTC)
        self._builder = RecordBuilder(
            None if self.settings.secrets else Redactor(), record_size=self.settings.record_size
        )
        self._lock = Lock()  # several event loops, each in a thread, may share it
        self._written = 0
        self._connections = 0
        self._headed = False
        self._close: Callable[[], object] | None = None
        self._write: Callable[[bytes], object] | None
        if callable(to):
            self._write = to
        else:
            fd = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            file = os.fdopen(fd, "wb", buffering=0)
            self._write, self._close = file.write, file.close

    def __repr__(self) -> str:
        return f"Trace({self.name!r})"

    def begin(self, side: Side, *, target: str = "", binding: str = "") -> None:
        """Write the first line, once; ``target`` is the connected or the served target."""
        with self._lock:
            if self._headed:
                return
            self._headed = True
            self._line(
                Header(
                    trace=FORMAT,
                    started=self._wall.isoformat(timespec="microseconds").replace("+00:00", "Z"),
                    side=side,
                    binding=binding,
                    program=_program(),
                    target=target if self.settings.secrets else shown_url(target),
                    redacted=not self.settings.secrets,
                )
            )

    def connection(self, side: Side) -> "ConnectionTrace":
        """Begin to record another connection."""
        self.begin(side)
        return ConnectionTrace(self, self.number(), side)

    def number(self) -> int:
        """Return a number for another connection."""
        with self._lock:
            self._connections += 1
            return self._connections

    def record(self, make: Callable[..., Record], *arguments: Any, **members: Any) -> None:
        """Write the record that a method of :class:`RecordBuilder` makes of the arguments."""
        if self._write is None:
            return
        with self._lock:
            try:
                time = round(clock() - self._began, 6)
                self._line(make(self._builder, *arguments, time=time, **members))
            except Exception:  # a fault of the trace must not end the traffic
                logger.exception("a trace ends here: something cannot be recorded")
                self._end()

    def _line(self, item: Header | Record) -> None:
        if self._write is None:
            return
        line = encode_line(item)
        if self._written + len(line) > self.settings.file_size and isinstance(item, Record):
            text = f"nothing more is recorded: the trace has {self.settings.file_size} bytes"
            line = encode_line(Record(time=item.time, kind="full", text=text))
            self._try(line)
            self._end()
            return
        self._written += len(line)
        self._try(line)

    def _try(self, line: bytes) -> None:
        assert self._write is not None  # noqa: S101 - asked by the caller
        try:
            self._write(line)
        except OSError as error:
            logger.warning("a trace ends here: %s cannot be written: %s", self.name, error.strerror)
            self._end()
        except BaseException as error:  # nor may an application's function
            logger.error("a trace ends here: it cannot be written", exc_info=failure_of(error))
            self._end()

    def _end(self) -> None:
        self._write = None
        if self._close is not None:
            close, self._close = self._close, None
            try:
                close()
            except OSError as error:
                logger.warning("the trace %s may not be whole: %s", self.name, error.strerror)

    def close(self) -> None:
        """End the trace; may be repeated."""
        with self._lock:
            self._end()

    def __enter__(self) -> "Trace":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


TraceTo = Trace | str | os.PathLike[str]
"""Argument ``trace=``: a trace that the application closes, or the name of a file."""


@contextmanager
def tracing(to: TraceTo | None) -> Iterator[Trace | None]:
    """Yield the trace for an argument ``trace=``; close it at the end if it was made here."""
    if to is None or isinstance(to, Trace):
        yield to
        return
    with Trace(to) as trace:
        yield trace


class ConnectionTrace:
    """Recorder of one connection of messages; ``incoming`` marks those that this side receives."""

    def __init__(self, trace: Trace, number: int, side: Side) -> None:
        self._record = partial(trace.record, connection=number)
        self.secrets = trace.settings.secrets
        """True if secrets are recorded."""
        self._received = Lines(trace.settings.held_size)
        self._sent = Lines(trace.settings.held_size)
        self._in, self._out = (TO_SERVER, TO_CLIENT) if side == "server" else (TO_CLIENT, TO_SERVER)

    # Newline-framed streams

    def received(self, data: bytes) -> None:
        """Record bytes from the peer, any number of lines."""
        for line in self._received.receive(data):
            self._message(line, incoming=True)

    def sent(self, data: bytes) -> None:
        """Record our bytes, any number of lines."""
        for line in self._sent.receive(data):
            self._message(line, incoming=False)

    # Frames

    def message(self, data: bytes, *, incoming: bool) -> None:
        """Record a whole message."""
        self._message(Held(data), incoming=incoming)

    def _message(self, held: Held, *, incoming: bool) -> None:
        self._record(
            RecordBuilder.message,
            held.data,
            dropped=held.dropped,
            direction=self._in if incoming else self._out,
        )

    def frame(
        self, kind: Kind, data: bytes | None = None, *, incoming: bool, status: int | None = None
    ) -> None:
        """Record a frame that is no message."""
        direction = self._in if incoming else self._out
        self._record(RecordBuilder.note, kind, data=data, status=status, direction=direction)

    def asked(self, request: HttpRequest) -> None:
        """Record the request that opens a WebSocket, as received by a server."""
        self.request_head(request.method, target_of(request), list(request.headers))

    def request_head(self, method: str, target: str, headers: list[tuple[bytes, bytes]]) -> None:
        """Record the request that opens a WebSocket."""
        self._record(RecordBuilder.head, headers, method=method, target=target, direction=TO_SERVER)

    def response_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Record the response to the request that opens a WebSocket."""
        self._record(RecordBuilder.head, headers, status=status, direction=TO_CLIENT)

    # Connection

    def opened(self, binding: str) -> None:
        """Record the opening of the connection."""
        self._record(RecordBuilder.note, "opened", binding=binding)

    def closed(self, reason: str) -> None:
        """Record the end of the connection, after the rest of an incomplete last line."""
        for lines, incoming in ((self._received, True), (self._sent, False)):
            rest = lines.eof()
            if rest is not None:
                self._message(rest, incoming=incoming)
        self._record(RecordBuilder.note, "closed", data=reason.encode())


def target_of(request: HttpRequest) -> str:
    """Return the target in the request line."""
    return f"{request.root}{request.path}{'?' if request.query else ''}{request.query}"


def _program() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"mcpcore {version('mcpcore')}"
    except (PackageNotFoundError, OSError):  # run from a checkout; its files cannot be read
        return "mcpcore"
