"""Outcomes of the requests of a client, for everything that sends them."""

from typing import Any

from msgspec import Raw, Struct

from mcpcore.engine.events import (
    ErrorReceived,
    InputRequired,
    RequestEnded,
    ResultReceived,
)
from mcpcore.engine.peer import Peer
from mcpcore.http import HttpClient
from mcpcore.spec.types.base import full_meta
from mcpcore.wire.message import RequestId

ClientMachine = Peer | HttpClient

Settled = ResultReceived | ErrorReceived | InputRequired | RequestEnded

CANCELLED = "cancelled by the caller"
"""Reason of a cancellation that is sent to the server when the caller was cancelled."""


class Outcome(Struct):
    """Answer to a request of the client."""

    result: Raw
    """The result object as received."""
    with_input: bool = False
    """True if input of this client went into the result, so that it is never cached."""
    request: RequestId | None = None
    """Id of the request."""

    @property
    def meta(self) -> dict[str, Any]:
        """The result's ``_meta``, decoded."""
        return full_meta(self.result)
