"""Questions of a handler to the client: forms, visits to URLs, the client's model, its roots.

In eras with requests to the client, a question is such a request, or waits in the task.  In the
modern era a question leaves the handler with
:class:`~mcpcore_transports.server.elicitation.InputNeeded`, unless an earlier round brought the
answer.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, overload

from mcpcore.errors import InputUnavailable
from mcpcore.spec.errors import ERRORS, URL_ELICITATION_REQUIRED, LocalProtocolError, McpError
from mcpcore.spec.methods import lookup
from mcpcore_transports.running.progress import ProgressCallback
from mcpcore_transports.server.context_facts import RequestFacts
from mcpcore_transports.server.elicitation import (
    InputNeeded,
    WireQuestions,
    params_of,
    read_answers,
)

# Imported with the first question: see mcpcore_transports.server.elicitation.
if TYPE_CHECKING:
    from mcpcore.spec.types.sampling import CreateMessageResult, SamplingMessage
    from mcpcore_transports.server.inputs import Elicited, ElicitUrl, Input, RootList

T = TypeVar("T")
R = TypeVar("R")


class Asking(RequestFacts):
    """Questions to the client, in every era, also from a task."""

    __slots__ = ()

    @overload
    async def elicit(
        self,
        message: str,
        schema: type[T],
        *,
        key: str | None = None,
        progress: ProgressCallback | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> "Elicited[T]": ...

    @overload
    async def elicit(
        self,
        message: str,
        schema: Mapping[str, Any],
        *,
        key: str | None = None,
        validate: bool = True,
        progress: ProgressCallback | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> "Elicited[dict[str, Any]]": ...

    async def elicit(
        self,
        message: str,
        schema: Any,
        *,
        key: str | None = None,
        validate: bool = True,
        progress: ProgressCallback | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> "Elicited[Any]":
        """Ask the user to fill in a form; see :class:`mcpcore_transports.server.inputs.Elicit`.

        ``key`` names the question among those of this request.  Without it the question's content
        is its name: a question that is worded differently when the handler runs again is asked
        again.  ``progress`` gets the client's progress; in the modern era clients report none.
        ``meta``: see :meth:`ask`.
        """
        from mcpcore_transports.server.inputs import Elicit

        wanted: Elicit[Any] = Elicit(message, schema, validate=validate)
        return await self.ask(wanted, key=key, progress=progress, meta=meta)

    async def elicit_url(
        self,
        message: str,
        url: str,
        *,
        key: str | None = None,
        elicitation_id: str | None = None,
        progress: ProgressCallback | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> "Elicited[None]":
        """Ask the user to visit ``url``, for data that must not pass through the client."""
        from mcpcore_transports.server.inputs import ElicitUrl

        wanted = ElicitUrl(message, url, elicitation_id=elicitation_id)
        return await self.ask(wanted, key=key, progress=progress, meta=meta)

    async def sample(
        self,
        messages: "str | Sequence[SamplingMessage | Mapping[str, Any]]",
        max_tokens: int,
        *,
        key: str | None = None,
        progress: ProgressCallback | None = None,
        meta: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> "CreateMessageResult":
        """Ask the client's model; ``options`` are members of the request by their wire names."""
        from mcpcore_transports.server.inputs import Sample

        wanted = Sample(messages, max_tokens, options)
        return await self.ask(wanted, key=key, progress=progress, meta=meta)

    async def list_roots(
        self,
        *,
        key: str | None = None,
        progress: ProgressCallback | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> "RootList":
        """Ask for the directories and files that the client lets the server work on."""
        from mcpcore_transports.server.inputs import ListRoots

        return await self.ask(ListRoots(), key=key, progress=progress, meta=meta)

    async def ask(
        self,
        wanted: "Input[R]",
        *,
        key: str | None = None,
        progress: ProgressCallback | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> R:
        """Ask one question.

        ``meta`` goes into the question's ``_meta``, in place of the ``meta`` of ``wanted``.  The
        trace context of the handler's request goes into every question; ``meta`` overrides it.
        """
        if meta is not None:
            wanted.with_meta(meta)
        name = self._automatic_key(wanted) if key is None else key
        heard = {} if progress is None else {name: progress}
        answers = await self.gather_inputs({name: wanted}, progress=heard)
        answer: R = answers[name]
        return answer

    async def gather_inputs(
        self,
        wanted: "Mapping[str, Input[Any]]",
        *,
        progress: Mapping[str, ProgressCallback] | None = None,
    ) -> dict[str, Any]:
        """Ask several questions at once, each under its key; a bad answer is asked for again.

        ``progress`` has the progress callbacks under the same keys (legacy).

        Raises McpError -32021 (modern) or InputUnavailable (legacy) if the client did not declare a
        capability that a question needs, InputUnavailable if it refuses to answer.
        """
        for question in wanted.values():
            for capability in question.needs(self.revision):
                self.require(capability)
        task = self._task
        if self.revision.input_rounds:
            return self._look_up(wanted) if task is None else await task.ask(wanted)
        for question in wanted.values():
            if lookup(question.method, "server", self.revision) is None:
                raise InputUnavailable(f"{self.revision.name} has no {question.method}")
        if task is not None:
            return await task.ask(wanted, progress)
        questions = WireQuestions(self._runtime, self.revision, asker=self._request)
        return await questions.ask(wanted, progress)

    def url_elicitation_required(self, *visits: "ElicitUrl") -> NoReturn:
        """Refuse the request until the user has made these visits; for any handler of a request.

        In 2025-11-25 the client gets the error -32042, and tries again when it sees fit.  In the
        modern era it gets a round of input, and the handler runs again until it no longer calls
        this.  Raises InputUnavailable if neither is possible or the user refuses.
        """
        for visit in visits:
            self.require(visit.capability)
        if self.revision.input_rounds and self._task is None:
            self._visit_first(visits)
        wanted = [params_of(visit, self.revision, None, {}) for visit in visits]
        if self.revision not in ERRORS[URL_ELICITATION_REQUIRED].revisions:
            raise InputUnavailable("a task cannot wait for a visit")
        text = "; ".join(visit.message for visit in visits)
        raise McpError(URL_ELICITATION_REQUIRED, text, {"elicitations": wanted})

    def elicitation_completer(self, elicitation_id: str) -> Callable[[], bool]:
        """Return a function that notifies this client, at any later time, that a visit is over.

        It may be called long after the request.  It returns False if the revision has no such
        notification or the client's session has ended.
        """
        method, runtime, session = "notifications/elicitation/complete", self._runtime, self.session
        known = lookup(method, "server", self.revision) is not None

        def complete() -> bool:
            return known and runtime.tell(session, method, {"elicitationId": elicitation_id})

        return complete

    def _automatic_key(self, wanted: "Input[Any]") -> str:
        # Named by content, not by position: the answer to one question can never be taken for that
        # of another, whatever the handler asks the second time.
        name = f"{wanted.method.split('/')[0]}-{wanted.digest()}"
        counts = self._counts = self._counts or {}
        count = counts[name] = counts.get(name, 0) + 1
        return name if count == 1 else f"{name}-{count}"

    def _visit_first(self, visits: "Sequence[ElicitUrl]") -> NoReturn:
        asked = {f"elicitation-{visit.digest()}": visit for visit in visits}
        for key, answer in self._look_up(asked).items():
            if not answer.accepted:
                raise InputUnavailable(f"the user does not visit {asked[key].url}")
        raise InputNeeded({})  # the user agreed, but the visit is not over yet

    def _look_up(self, wanted: "Mapping[str, Input[Any]]") -> dict[str, Any]:
        row = lookup(self.method, "client", self.revision)
        if row is None or not row.needs_input:
            raise LocalProtocolError(f"a handler of {self.method} cannot ask the client")
        given = self._request.input_responses or {}
        return read_answers(
            wanted, given, self.state.answers, self.revision, self._request.meta.trace
        )
