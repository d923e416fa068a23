"""A server with something to record, and what a test looks for in its traces."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import anyio

from mcpcore.service import Server
from mcpcore.trace.format import MESSAGES, Record
from mcpcore_conformance.trace.reading import TraceFile, read
from mcpcore_transports.client.callbacks import Callbacks
from mcpcore_transports.client.client import Client
from mcpcore_transports.server.context import Context

SECRET = "s3cr3t-T0ken-4711"
ERAS = ("2025-11-25", "2026-07-28")

server = Server("recorded", version="1")


@server.tool
def echo(text: str, api_key: str = "") -> str:
    """Says the text again."""
    return text


@server.tool
async def steps(context: Context) -> str:
    """Reports progress."""
    for step in (1, 2):
        context.progress(step, 2)
        await anyio.lowlevel.checkpoint()
    return "done"


@server.tool
async def ask(context: Context) -> str:
    """Asks the user."""
    form = {"type": "object", "properties": {"color": {"type": "string"}}}
    answer = await context.elicit("Which color?", form)
    return f"{answer.action}"


def answering() -> Callbacks:
    return Callbacks(elicitation=lambda params: {"color": "red"})


async def converse(client: Client) -> None:
    """Do something of everything."""
    await client.call_tool("echo", {"text": "täglich", "api_key": SECRET})
    await client.call_tool("steps", progress=lambda *_: None)
    await client.call_tool("ask")


def loaded(path: "str | os.PathLike[str]") -> TraceFile:
    trace = read(path)
    assert trace.complete
    raw = Path(path).read_bytes()
    assert SECRET.encode() not in raw
    return trace


def records(trace: TraceFile, *kinds: str) -> list[Record]:
    return [entry.record for entry in trace.entries if entry.record.kind in kinds]


def messages(trace: TraceFile) -> list[Record]:
    return records(trace, *MESSAGES)


def said(trace: TraceFile) -> dict[Any, list[Any]]:
    """What was said in each direction, in order, but for what hides secrets."""
    found: dict[Any, list[Any]] = {}
    for record in messages(trace):
        text = None if record.redactions else record.text
        key = record.direction
        found.setdefault(key, []).append((record.kind, record.method, record.id, text))
    return found


def counted(trace: TraceFile) -> dict[Any, Any]:
    """The same whatever the order: exchanges of HTTP overtake each other."""
    return {direction: Counter(each) for direction, each in said(trace).items()}
