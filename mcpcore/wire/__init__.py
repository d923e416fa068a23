"""Bytes to messages and back: JSON-RPC envelopes, newline framing, Server-Sent Events, traces.

Import the modules one by one: ``mcpcore.wire.message``, ``.framing``, ``.sse``,
``.redaction``, ``.secret_forms``, ``.trace``, ``.trace_redaction``.
"""

__all__ = [
    "framing",
    "jsontext",
    "message",
    "redaction",
    "secret_forms",
    "sse",
    "trace",
    "trace_redaction",
]
