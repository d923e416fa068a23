"""Visits to URLs that a server asks for, and requests that wait for them.

Source: elicitation page of 2025-11-25, "Completion Notifications for URL Mode Elicitation" and
"URL Elicitation Required Error".
"""

import logging
from collections.abc import Iterable

import anyio
import msgspec
from msgspec import Raw, Struct

from mcpcore.engine.events import RequestReceived
from mcpcore.errors import Malformed, PeerError, UrlElicitationRequired
from mcpcore.spec.errors import ERRORS, URL_ELICITATION_REQUIRED
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.elicitation import ElicitationCompleteParams, ElicitResult
from mcpcore.spec.types.model import Maybe
from mcpcore_transports.client.answers import answer_questions
from mcpcore_transports.client.callbacks import Callbacks
from mcpcore_transports.running.decode import typed

logger = logging.getLogger("mcpcore.client")

COMPLETE = "notifications/elicitation/complete"


class _Asked(Struct, rename="camel"):
    elicitation_id: Maybe[str] = None


class Visits:
    """Visits of one connection, by elicitation id; the oldest are forgotten first."""

    def __init__(self, callbacks: Callbacks, *, limit: int = 1000) -> None:
        self._callbacks = callbacks
        self.limit = limit
        """Maximum visits at a time."""
        self._under_way: dict[str, anyio.Event] = {}
        self.patience = 0.0
        """Seconds to wait for the news that a visit is over before a request is tried again."""
        self.rounds = 1
        """Maximum retries of one request."""

    def asked(self, event: RequestReceived) -> None:
        """Record the visit that a request of the server may ask for."""
        if event.method == "elicitation/create":
            try:
                asked = typed(event.params, _Asked)
            except Malformed:
                return  # the answer to the request reports it
            if asked.elicitation_id is not None:
                self._expect(asked.elicitation_id)

    def completed(self, params: Raw) -> bool:
        """Record the end of a visit; return False for an unknown or ended one, to be ignored."""
        try:
            done = typed(params, ElicitationCompleteParams)
        except Malformed as error:
            logger.warning("the server's %s is malformed: %s", COMPLETE, error)
            return False
        visit = self._under_way.pop(done.elicitation_id, None)
        if visit is not None:
            visit.set()
        return visit is not None

    async def made(self, error: PeerError, revision: Revision) -> bool:
        """Have the user make the visits that ``error`` requires; return True if a retry is useful.

        Raises InputFailed, and any exception of the callback.
        """
        if (
            not isinstance(error, UrlElicitationRequired)
            or revision not in ERRORS[URL_ELICITATION_REQUIRED].revisions
            or self._callbacks.elicitation_url is None
        ):
            return False
        questions: dict[str, Raw] = {}
        for wanted in error.elicitations:
            key = str(wanted.elicitation_id)
            self._expect(key)
            question = {"method": "elicitation/create", "params": wanted}
            questions[key] = Raw(msgspec.json.encode(question))
        answers = await answer_questions(questions, error.method, self._callbacks, revision)
        for answer in answers.values():
            if not isinstance(answer, ElicitResult) or answer.action != "accept":
                return False
        await self._wait(questions)
        return True

    def _expect(self, elicitation_id: str) -> None:
        self._under_way.setdefault(elicitation_id, anyio.Event())
        if len(self._under_way) > self.limit:
            del self._under_way[next(iter(self._under_way))]

    async def _wait(self, ids: Iterable[str]) -> None:
        with anyio.move_on_after(self.patience):
            for elicitation_id in ids:
                visit = self._under_way.get(elicitation_id)
                if visit is not None:
                    await visit.wait()
