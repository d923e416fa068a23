"""Bytes to messages and back: JSON-RPC envelopes, newline framing, Server-Sent Events."""
