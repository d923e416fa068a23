"""The page reference/protocol.md, out of the tables of the engine."""

import re
from collections.abc import Iterator
from importlib import import_module

from msgspec import structs

from mcpcore.spec.closes import CLOSES
from mcpcore.spec.errors import ERRORS, ErrorRow
from mcpcore.spec.methods import METHODS, Method, MethodKind
from mcpcore.spec.refusals import REFUSALS, RefusalRow
from mcpcore.spec.revisions import REVISIONS, Revision, Span
from tests.reference.sources import ROOT, attributes, table

NAME = "protocol.md"
HEAD = """# Protocol tables

The protocol as the engine has it: each table below is one that the code runs on. For what a
revision means to an application, see [the two eras](../explanation/eras.md).
"""
NO, YES = "", "yes"
TABLES = (
    "mcpcore.engine.lifecycle",
    "mcpcore.http.server.sessions",
    "mcpcore.http.server.exchange",
    "mcpcore.http.server.stored.streams",
    "mcpcore.http.client.call",
    "mcpcore.auth.authorization",
    "mcpcore.relay.listens",
    "mcpcore.policy.breaker",
    "mcpcore.policy.balancing",
    "mcpcore.policy.health",
    "mcpcore_transports.http1.connection",
    "mcpcore_transports.http.client.client",
    "mcpcore_transports.stream.connection",
    "mcpcore_transports.websocket.connection",
    "mcpcore_transports.client.managed",
)
"""Modules with state tables, listed in their ``DIAGRAMS``."""
_REFUSING = (
    "mcpcore/auth/resource_server.py",
    "mcpcore/http/*.py",
    "mcpcore/http/server/**/*.py",
    "mcpcore/http/legacy_sse/*.py",
    "transports/mcpcore_transports/auth/*.py",
    "transports/mcpcore_transports/http1/*.py",
    "transports/mcpcore_transports/http/server/*.py",
    "transports/mcpcore_transports/websocket/server.py",
)
"""Modules of servers over HTTP, as patterns."""


def render() -> str:
    """Return the page."""
    lines = [
        HEAD,
        *("## Revisions", "", *_revisions()),
        *("## Methods", "", *_methods()),
        *("## States", "", *_states()),
        *("## JSON-RPC error codes", "", *_errors()),
        *("## HTTP refusals", "", *_refusals()),
        *("## WebSocket closes", "", *_closes()),
        *("## Exceptions", "", "All of them, in one tree: [exceptions](exceptions.md).", ""),
    ]
    return "\n".join(lines)


def _states() -> Iterator[str]:
    """Return one Mermaid diagram per state table."""
    for title, text, moves in (each for name in TABLES for each in import_module(name).DIAGRAMS):
        yield from (f"### {title}", "", text, "", "```mermaid", "stateDiagram-v2")
        first = next(iter(moves))[0]
        yield f"    [*] --> {first.name}"
        for (state, signal), after in moves.items():
            yield f"    {state.name} --> {after.name}: {signal.value}"
        yield from ("```", "")


def _revisions() -> Iterator[str]:
    yield "Rows are named flags of `mcpcore.spec.revisions.Revision`. Code asks for a flag, never"
    yield "for a revision."
    yield ""
    texts = attributes(Revision)
    rows = [
        [f"`{field.name}`", texts[field.name], *(_cell(field.name, each) for each in REVISIONS)]
        for field in structs.fields(Revision)
        if field.name not in ("name", "position")
    ]
    yield from table(["Flag", "Meaning", *(each.name for each in REVISIONS)], rows)


def _cell(name: str, revision: Revision) -> str:
    value = getattr(revision, name)
    return (YES if value else NO) if isinstance(value, bool) else str(value)


def _methods() -> Iterator[str]:
    yield "Who may send a method in which revisions, and the capability that it needs: of the"
    yield "receiver of a request, or of the sender of a notification. Where it says *embedded*, the"
    yield "server asks by `input_required` instead of sending a request."
    yield ""
    for kind in MethodKind:
        yield f"### {kind.value.capitalize()}s"
        yield ""
        yield from table(
            ["Method", "From the client", "From the server", "Capability", "Extension"],
            [
                [
                    f"`{row.name}`",
                    _span(row.client),
                    _sent_by_server(row),
                    f"`{row.capability}`" if row.capability else "",
                    f"`{row.extension}`" if row.extension else "",
                ]
                for row in METHODS
                if row.kind is kind
            ],
        )


def _sent_by_server(row: Method) -> str:
    embedded = f"embedded: {_span(row.embedded)}" if row.embedded else ""
    return ", ".join(each for each in (_span(row.server), embedded) if each)


def _span(span: Span | None) -> str:
    if span is None:
        return ""
    first, last = span.first, span.last
    if first is REVISIONS[0] and last is REVISIONS[-1]:
        return "all"
    return first.name if first is last else f"{first.name} to {last.name}"


def _errors() -> Iterator[str]:
    yield "The HTTP status is that of the modern era if the engine itself rejects the request;"
    yield "*always*: also if a handler answered with the code. Positive codes are of this project."
    yield ""
    yield from table(
        ["Code", "Name", "Revisions", "HTTP status", "May be retried", "Only a modern server"],
        [
            [
                str(row.code),
                row.name,
                _span(Span(row.revisions[0], row.revisions[-1])),
                f"{row.status}, always" if row.status_always else str(row.status),
                _retryable(row),
                YES if row.proves_modern else NO,
            ]
            for row in ERRORS.values()
        ],
    )


def _retryable(row: ErrorRow) -> str:
    return "after a correction" if row.needs_correction else YES if row.retryable else NO


def _refusals() -> Iterator[str]:
    yield "What an HTTP server refuses before a request reaches the engine, whose own rejections"
    yield "have the status of their code, above. Each is a row of `mcpcore.spec.refusals`,"
    yield "by whose name the code refuses. The body is a JSON-RPC error; of two codes the second is"
    yield "that of the modern era."
    yield ""
    yield from table(
        ["HTTP status", "Code", "When", "Clause", "Row", "Used in"],
        [
            [
                str(row.status),
                _codes(row),
                row.when,
                row.clause,
                f"`{name}`",
                ", ".join(f"`{path}`" for path in users(name)),
            ]
            for name, row in sorted(REFUSALS.items(), key=lambda item: item[1].status)
        ],
    )


def _codes(row: RefusalRow) -> str:
    codes = (row.code,) if row.modern_code is None else (row.code, row.modern_code)
    return "" if row.plain else " or ".join(str(code) for code in codes)


def users(name: str) -> list[str]:
    """Return the modules that refuse by a row."""
    named = re.compile(rf"(?<!headers\.)\b{name}\b")
    return [
        str(path.relative_to(ROOT))
        for room in _REFUSING
        for path in sorted(ROOT.glob(room))
        if "refusals" in (text := path.read_text(encoding="utf-8")) and named.search(text)
    ]


def _closes() -> Iterator[str]:
    yield "Words in braces stand for values. A close of the other side is answered with its own"
    yield "code (RFC 6455 section 5.5.1)."
    yield ""
    yield from table(
        ["Code", "Sent when", "Reason", "Source"],
        [[str(row.code), row.when, row.reason, row.clause] for row in CLOSES],
    )
