"""State of a server between the rounds of one request, kept sealed by the client."""

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from mcpcore.engine.events import RequestReceived
from mcpcore.spec.errors import INVALID_PARAMS, INVALID_REQUEST, McpError
from mcpcore_transports.server.elicitation import RoundState

if TYPE_CHECKING:
    from mcpcore.engine.seal import Binding, Seal


class Rounds:
    """Sealing of ``requestState``, and the limit: a request may take ``limit`` rounds.

    The sealing code is imported at the first request with several rounds, which most servers never
    have.
    """

    def __init__(self, seal: "Seal", wall: Callable[[], float], limit: int) -> None:
        self._seal = seal
        self._wall = wall
        self._limit = limit

    def open(self, event: RequestReceived) -> RoundState | None:
        """Return the state of earlier rounds, None in the first.  Raises McpError (-32602)."""
        if event.request_state is None:
            return None
        from mcpcore.engine.seal import Refusal, SealBroken, request_binding

        binding = request_binding(event.principal, event.method, event.params)
        try:
            payload = self._seal.open(event.request_state, binding, wall=self._wall())
            return msgspec.json.decode(payload, type=RoundState)
        except SealBroken as broken:
            raise McpError(INVALID_PARAMS, str(broken)) from None
        except msgspec.DecodeError:  # sealed by a worker of another version
            raise McpError(INVALID_PARAMS, Refusal.FOREIGN) from None

    def close(self, event: RequestReceived, state: RoundState) -> str:
        """End a round: return its state, sealed.

        Raises McpError (-32600) if there were too many, ValueError or TypeError for a state that is
        too large or not JSON.
        """
        state.round += 1
        if state.round > self._limit:
            raise McpError(INVALID_REQUEST, f"no usable input after {self._limit} rounds")
        from mcpcore.engine.seal import request_binding

        binding = request_binding(event.principal, event.method, event.params)
        return self._seal.seal(msgspec.json.encode(state), binding, wall=self._wall())


class OwnSeal:
    """Default seal of a server: the best kind that is available, with a key of its own.

    It is made at the first use: most servers never need one, and its imports are delayed until
    then.
    """

    @cached_property
    def _made(self) -> "Seal":
        from mcpcore_transports.server.seal import make_seal

        return make_seal()

    def seal(self, payload: bytes, binding: "Binding", *, wall: float) -> str:
        """Implement :meth:`Seal.seal <mcpcore.engine.seal.Seal.seal>`."""
        return self._made.seal(payload, binding, wall=wall)

    def open(self, text: str, binding: "Binding", *, wall: float) -> bytes:
        """Implement :meth:`Seal.open <mcpcore.engine.seal.Seal.open>`."""
        return self._made.open(text, binding, wall=wall)
