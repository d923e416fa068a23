"""Hypothesis strategies for whoever tests a protocol engine: messages, conversations, streams.

They need nothing but hypothesis and the tables of ``mcpcore.spec``, and know nothing of the engine.
Messages are dicts, and bytes where the bytes are what matters::

    @given(message=messages(revision="2025-11-25", sender="client"))
    def test_reads_every_message(message): ...
"""

from mcpcore_conformance.strategies.malformed import Malformed, malformed
from mcpcore_conformance.strategies.messages import (
    batches,
    ids,
    messages,
    notifications,
    params_of,
    progress_tokens,
    requests,
    responses,
    results_of,
)
from mcpcore_conformance.strategies.sequences import conversations
from mcpcore_conformance.strategies.streams import EventStream, StreamEvent, chunks, event_streams
from mcpcore_conformance.strategies.types import json_values

__all__ = [
    "EventStream",
    "Malformed",
    "StreamEvent",
    "batches",
    "chunks",
    "conversations",
    "event_streams",
    "ids",
    "json_values",
    "malformed",
    "messages",
    "notifications",
    "params_of",
    "progress_tokens",
    "requests",
    "responses",
    "results_of",
]
