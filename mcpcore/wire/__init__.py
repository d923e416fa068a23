"""Bytes to messages and back: JSON-RPC envelopes, newline framing, Server-Sent Events.

The modules are imported one by one: ``mcpcore.wire.message``, ``.framing``, ``.sse``.
"""

__all__ = ["framing", "jsontext", "message", "sse"]
