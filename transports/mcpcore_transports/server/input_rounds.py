"""Questions of a handler to the client in input rounds: the modern era.

A handler that needs an answer is left with :class:`InputNeeded`.  When the client retries, the
handler runs again from its beginning, and finds the answers.
"""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw, Struct

from mcpcore.engine.events import RequestReceived
from mcpcore.engine.input_rounds import InputRequest
from mcpcore.errors import InputUnavailable, Unsayable
from mcpcore.spec.errors import INVALID_PARAMS, INVALID_REQUEST, McpError
from mcpcore.spec.revisions import Revision
from mcpcore_transports.running.decode import InvalidAnswer
from mcpcore_transports.running.functions import Signal

# Imported with the first question, and at the end of the first round: most servers have none.
if TYPE_CHECKING:
    from mcpcore.engine.seal import Binding, Seal
    from mcpcore_transports.server.inputs import Input


class InputNeeded(Signal):
    """Signal that leaves a handler of the modern era to ask the client first.

    It is no Exception, so that ``except Exception`` in a handler does not swallow it; let it pass.
    """

    def __init__(self, requests: Mapping[str, InputRequest]) -> None:
        super().__init__(f"input needed: {', '.join(requests)}")
        self.requests = dict(requests)


class RoundState(Struct, array_like=True):
    """State that travels, sealed, through the client between the rounds of one request."""

    round: int = 0
    answers: dict[str, Raw] = {}
    """Answers of earlier rounds that the handler has used."""
    kept: dict[str, Raw] = {}
    """Values that the handler has stored."""


def read_answers(
    wanted: "Mapping[str, Input[Any]]",
    given: Mapping[str, Raw],
    used: dict[str, Raw],
    revision: Revision,
    trace: Mapping[str, str],
) -> dict[str, Any]:
    """Find the answers among those ``given`` in this round and ``used`` in earlier ones.

    Raises :class:`InputNeeded` for those that are missing or do not fit.  ``trace``: the trace
    context to send with questions.
    """
    answers: dict[str, Any] = {}
    missing: dict[str, InputRequest] = {}
    for key, question in wanted.items():
        answer = used.get(key, given.get(key))
        problem = None
        if answer is not None:
            try:
                answers[key] = question.parse(answer)
                used[key] = answer
                continue
            except InvalidAnswer as error:
                problem = str(error)
        params = params_of(question, revision, problem, trace)
        missing[key] = InputRequest(question.method, params)
    if missing:
        raise InputNeeded(missing)
    return answers


def params_of(
    question: "Input[Any]", revision: Revision, problem: str | None, trace: Mapping[str, str]
) -> dict[str, Any]:
    """Return the question's params, with its ``_meta`` and the trace context that it belongs to.

    Raises InputUnavailable if the revision cannot express the question.
    """
    try:
        params = question.wire_params(revision, problem)
    except Unsayable as error:
        raise InputUnavailable(str(error)) from error
    meta = {**trace, **(question.meta or {})}
    return {**params, "_meta": meta} if meta else params


class Rounds:
    """Sealing of ``requestState``, and the limit: a request may take ``limit`` rounds."""

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
    """Default seal of a server: the best kind that is available, made with a key at its first use.

    Most servers never need one, and its imports take time.
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
