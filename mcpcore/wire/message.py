"""Bytes to messages and back: the JSON-RPC 2.0 envelope as one Struct."""

from msgspec import UNSET, Raw, Struct, UnsetType

RequestId = str | int
