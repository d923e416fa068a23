"""Cases for clients: what a client says has been asked for, or was negotiated."""

from mcpcore.spec.revisions import BY_NAME, LATEST_LEGACY, REVISIONS, Span
from mcpcore_conformance.kit.account import Unasked
from mcpcore_conformance.kit.client_talk import ClientTalk
from mcpcore_conformance.kit.client_tour import check_client
from mcpcore_conformance.kit.model import LEGACY, MUST, SHOULD, Page

index = Page("basic/index")
lifecycle = Page("basic/lifecycle")
progress = Page("basic/patterns/progress")
cancellation = Page("basic/patterns/cancellation")
utilities = Page("basic/utilities/cancellation")

UNTIL_2025_03_26 = Span(REVISIONS[0], BY_NAME["2025-03-26"])
SINCE_2025_06_18 = Span(BY_NAME["2025-06-18"], LATEST_LEGACY)


@index.client(
    MUST,
    "result-responses/client-answers-once",
    LEGACY,
    expects="One answer to each request of the server.",
)
async def answers_once(talk: ClientTalk) -> None:
    """What a client has answered it does not answer again."""
    await check_client(talk, Unasked.TWICE)


@index.client(
    MUST,
    "result-responses/client-answers-requests",
    LEGACY,
    expects="Every answer has the id of a request of the server, of the same type.",
)
async def answers_requests(talk: ClientTalk) -> None:
    """A client answers nothing that nobody has asked."""
    await check_client(talk, Unasked.UNKNOWN)


@lifecycle.client(
    MUST,
    "operation/client-uses-what-was-negotiated",
    SINCE_2025_06_18,
    expects="No request and no notification that needs a capability which was not declared.",
)
async def uses_negotiated(talk: ClientTalk) -> None:
    """A client, in a plain call, uses only what was negotiated."""
    await check_client(talk, Unasked.UNDECLARED, Unasked.ASKED, Unasked.FOREIGN)


@lifecycle.client(
    SHOULD,
    "operation/client-uses-what-was-negotiated-early",
    UNTIL_2025_03_26,
    expects="No request and no notification that needs a capability which was not declared.",
)
async def uses_negotiated_early(talk: ClientTalk) -> None:
    """A client, in a plain call, uses only what was negotiated."""
    await check_client(talk, Unasked.UNDECLARED, Unasked.ASKED, Unasked.FOREIGN)


@progress.client(
    MUST,
    "behavior-requirements/client-active-tokens-only",
    LEGACY,
    expects="No progress with a token that the server has not given, and none after the answer.",
)
async def active_tokens_only(talk: ClientTalk) -> None:
    """Progress of a client has the token of a request that runs."""
    await check_client(talk, Unasked.PROGRESS, Unasked.LATE)


@cancellation.client(
    MUST,
    "behavior-requirements/client-cancels-what-it-asked",
    LEGACY,
    expects="No cancellation of what the client has not asked.",
)
async def cancels_own(talk: ClientTalk) -> None:
    """A client cancels nothing but requests of its own."""
    await check_client(talk, Unasked.CANCELLED)


@utilities.client(
    MUST,
    "behavior-requirements/client-leaves-initialize",
    LEGACY,
    expects="No cancellation of initialize.",
)
async def leaves_initialize(talk: ClientTalk) -> None:
    """A client never cancels initialize, nor when it was answered."""
    await check_client(talk, Unasked.INITIALIZE)


__all__ = ["cancellation", "index", "lifecycle", "progress", "utilities"]
