"""Traces written by hand: what was said, line by line."""

from pathlib import Path
from typing import Any

import msgspec

from mcpcore.trace.format import (
    TO_CLIENT,
    TO_SERVER,
    Direction,
    Header,
    Record,
    RecordBuilder,
    Side,
    encode_line,
)
from mcpcore_conformance.trace.reading import TraceFile, parse

BUILD = RecordBuilder(None)
VERSION = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
INFO = "io.modelcontextprotocol/clientInfo"
SERVER = "io.modelcontextprotocol/serverInfo"
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
LEVEL = "io.modelcontextprotocol/logLevel"
MODERN = "2026-07-28"
BOTH = "application/json, text/event-stream"
EVERYTHING = {
    "tools": {"listChanged": True},
    "resources": {"listChanged": True, "subscribe": True},
    "prompts": {"listChanged": True},
    "completions": {},
    "logging": {},
}

Lines = list[Record]


def trace(*parts: Record | Lines, side: Side = "client", binding: str = "stdio") -> TraceFile:
    """A trace of these records; the first stands on line 2."""
    records: Lines = []
    for part in parts:
        records += part if isinstance(part, list) else [part]
    header = Header(trace=1, side=side, binding=binding)
    timed = [
        msgspec.structs.replace(record, time=number / 10) for number, record in enumerate(records)
    ]
    return parse([encode_line(header), *map(encode_line, timed)])


def saved(made: TraceFile, folder: Path) -> Path:
    """Write a trace to a file."""
    file = folder / "talk.jsonl"
    records = (encode_line(entry.record) for entry in made.entries)
    file.write_bytes(b"".join((encode_line(made.header), *records)))
    return file


def _encoded(message: Any) -> bytes:
    return message if isinstance(message, bytes) else msgspec.json.encode(message)


def c(message: Any) -> Record:
    """A client says this."""
    return BUILD.message(_encoded(message), time=0.0, direction=TO_SERVER)


def s(message: Any) -> Record:
    """A server says this."""
    return BUILD.message(_encoded(message), time=0.0, direction=TO_CLIENT)


def request(method: str, params: Any = None, id: Any = 1) -> dict[str, Any]:
    made = {"jsonrpc": "2.0", "id": id, "method": method}
    return made if params is None else {**made, "params": params}


def notice(method: str, params: Any = None) -> dict[str, Any]:
    made = {"jsonrpc": "2.0", "method": method}
    return made if params is None else {**made, "params": params}


def result(value: Any = None, id: Any = 1) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "result": {} if value is None else value}


def error(code: int = -32602, id: Any = 1, **more: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": "no", **more}}


def initialize(revision: str = "2025-11-25", id: Any = 0, **capabilities: Any) -> dict[str, Any]:
    return request(
        "initialize",
        {
            "protocolVersion": revision,
            "capabilities": capabilities,
            "clientInfo": {"name": "c", "version": "1"},
        },
        id,
    )


def initialized(
    revision: str = "2025-11-25", id: Any = 0, capabilities: Any = None
) -> dict[str, Any]:
    offers = EVERYTHING if capabilities is None else capabilities
    return result(
        {
            "protocolVersion": revision,
            "capabilities": offers,
            "serverInfo": {"name": "s", "version": "1"},
        },
        id,
    )


READY = notice("notifications/initialized")


def handshake(
    revision: str = "2025-11-25", server: Any = None, **capabilities: Any
) -> list[Record]:
    """Three lines: a handshake as it should be."""
    return [
        c(initialize(revision, **capabilities)),
        s(initialized(revision, capabilities=server)),
        c(READY),
    ]


def meta(**more: Any) -> dict[str, Any]:
    """The ``_meta`` of a modern request."""
    capabilities = more.pop("capabilities", {})
    return {
        VERSION: MODERN,
        CAPABILITIES: capabilities,
        INFO: {"name": "c", "version": "1"},
        **more,
    }


def modern(method: str, params: Any = None, id: Any = 1, **more: Any) -> dict[str, Any]:
    return request(method, {**(params or {}), "_meta": meta(**more)}, id)


def done(value: Any = None, id: Any = 1) -> dict[str, Any]:
    """A modern result."""
    own = {"resultType": "complete", "_meta": {SERVER: {"name": "s", "version": "1"}}}
    return result({**own, **(value or {})}, id)


# HTTP


def head(direction: Direction, headers: dict[str, str], stream: int = 1, **start: Any) -> Record:
    fields = [(name.encode(), value.encode()) for name, value in headers.items()]
    return BUILD.head(fields, time=0.0, direction=direction, stream=stream, **start)


def post(message: Any, stream: int = 1, **headers: Any) -> Lines:
    """A POST of a client; headers with underscores, or None to leave one out."""
    fields: dict[str, Any] = {"host": "h", "accept": BOTH, "content-type": "application/json"}
    fields.update({name.replace("_", "-"): value for name, value in headers.items()})
    fields = {name: value for name, value in fields.items() if value is not None}
    body = BUILD.message(_encoded(message), time=0.0, direction=TO_SERVER, stream=stream)
    return [head(TO_SERVER, fields, stream, method="POST", target="/mcp"), body]


def get(stream: int = 1, method: str = "GET", **headers: Any) -> Record:
    fields: dict[str, Any] = {"host": "h", "accept": "text/event-stream"}
    fields.update({name.replace("_", "-"): value for name, value in headers.items()})
    fields = {name: value for name, value in fields.items() if value is not None}
    return head(TO_SERVER, fields, stream, method=method, target="/mcp")


def reply(message: Any = None, stream: int = 1, status: int = 200, **headers: Any) -> Lines:
    """A response with a JSON body, or without one."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    if message is None:
        return [head(TO_CLIENT, fields, stream, status=status)]
    fields.setdefault("content-type", "application/json")
    body = BUILD.message(_encoded(message), time=0.0, direction=TO_CLIENT, stream=stream)
    return [head(TO_CLIENT, fields, stream, status=status), body]


def stream(*events: Record, stream: int = 1, ends: bool = True, **headers: Any) -> Lines:
    """A response that is an event stream."""
    fields: dict[str, Any] = {"content-type": "text/event-stream", "x-accel-buffering": "no"}
    fields.update({name.replace("_", "-"): value for name, value in headers.items()})
    fields = {name: value for name, value in fields.items() if value is not None}
    moved = [msgspec.structs.replace(event, stream=stream) for event in events]
    end = [BUILD.note("http-end", time=0.0, stream=stream)] if ends else []
    return [head(TO_CLIENT, fields, stream, status=200), *moved, *end]


def event(message: Any, id: str | None = None, type: str = "message") -> Record:
    return BUILD.message(
        _encoded(message),
        time=0.0,
        direction=TO_CLIENT,
        event=type,
        event_id=id,
        otherwise="sse-event",
    )


def prime(id: str = "p1") -> Record:
    return BUILD.note(
        "sse-event", time=0.0, direction=TO_CLIENT, data=b"", event="message", event_id=id
    )


def session(revision: str = "2025-11-25", id: str | None = "abc", server: Any = None) -> Lines:
    """A handshake over HTTP, on exchanges 1 and 2; seven lines."""
    given: dict[str, Any] = {} if id is None else {"mcp_session_id": id}
    sent = {**given, "mcp_protocol_version": revision}
    return [
        *post(initialize(revision), 1),
        *reply(initialized(revision, capabilities=server), 1, **given),
        *post(READY, 2, **sent),
        *reply(None, 2, 202),
    ]
