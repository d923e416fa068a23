"""Cases for clients: what a client says has been asked for, or was negotiated."""

from mcpcore_conformance.kit.account import Unasked
from mcpcore_conformance.kit.client_talk import ClientTalk
from mcpcore_conformance.kit.client_tour import check_client
from mcpcore_conformance.kit.model import LEGACY, LEGACY_SINCE_2025_06_18, UNTIL_2025_03_26, Page

index = Page("basic/index")
lifecycle = Page("basic/lifecycle")
progress = Page("basic/patterns/progress")
cancellation = Page("basic/patterns/cancellation")
utilities = Page("basic/utilities/cancellation")
index_case = index.client(LEGACY)

lifecycle_case = lifecycle.client(LEGACY_SINCE_2025_06_18)


@index_case.must("result-responses", "One answer to each request of the server.")
async def answers_once(talk: ClientTalk) -> None:
    """What a client has answered it does not answer again."""
    await check_client(talk, Unasked.TWICE)


@index_case.must(
    "result-responses", "Every answer has the id of a request of the server, of the same type."
)
async def answers_requests(talk: ClientTalk) -> None:
    """A client answers nothing that nobody has asked."""
    await check_client(talk, Unasked.UNKNOWN)


@lifecycle_case.should(
    "operation/client-uses-what-was-negotiated-early",
    "No request and no notification that needs a capability which was not declared.",
    UNTIL_2025_03_26,
)
@lifecycle_case.must(
    "operation/client-uses-what-was-negotiated",
    "No request and no notification that needs a capability which was not declared.",
)
async def uses_negotiated(talk: ClientTalk) -> None:
    """A client, in a plain call, uses only what was negotiated."""
    await check_client(talk, Unasked.UNDECLARED, Unasked.ASKED, Unasked.FOREIGN)


@progress.client(LEGACY).must(
    "behavior-requirements",
    "No progress with a token that the server has not given, and none after the answer.",
)
async def active_tokens_only(talk: ClientTalk) -> None:
    """Progress of a client has the token of a request that runs."""
    await check_client(talk, Unasked.PROGRESS, Unasked.LATE)


@cancellation.client(LEGACY).must(
    "behavior-requirements", "No cancellation of what the client has not asked."
)
async def cancels_what_it_asked(talk: ClientTalk) -> None:
    """A client cancels nothing but requests of its own."""
    await check_client(talk, Unasked.CANCELLED)


@utilities.client(LEGACY).must("behavior-requirements", "No cancellation of initialize.")
async def leaves_initialize(talk: ClientTalk) -> None:
    """A client never cancels initialize, nor when it was answered."""
    await check_client(talk, Unasked.INITIALIZE)
