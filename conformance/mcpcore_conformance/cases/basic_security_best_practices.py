"""Cases of the page basic/security_best_practices: sessions that cannot be taken over."""

from itertools import combinations

from mcpcore_conformance.cases.basic_transports_sessions import SESSION, ended, stateful
from mcpcore_conformance.kit.endpoint import EVENT_STREAM, Endpoint, check_refused, check_served
from mcpcore_conformance.kit.messages import encode
from mcpcore_conformance.kit.model import LEGACY_SINCE_2025_06_18, OTHER_PRINCIPAL, STREAMABLE, Page
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.verdicts import check

page = Page("basic/security_best_practices")

WITH_PAGE = LEGACY_SINCE_2025_06_18
"""Revisions with sessions whose specification has the page."""
case = page.server(WITH_PAGE, bindings=STREAMABLE)
session_hijacking = case.at("session-hijacking")
DIFFER = 12
"""Characters in which two ids differ at least; what else they have may be the same in all of them:
the claims of a token, a time, the name of a node."""
SHORTEST = 4
"""Those of ids that are too short for that: half of one, and never fewer than these."""
SHOWN = 6
"""Characters of an id that are shown of its beginning and of its end."""


@session_hijacking.must(
    "Any two ids differ in 12 characters or more (short ones in half of theirs), whenever"
    " they were made."
)
async def ids_not_deterministic(talk: ServerTalk) -> None:
    """Session ids are not made from a counter or a clock alone."""
    ids = [(await stateful(talk))[1] for _ in range(6)]
    for one, other in combinations(ids, 2):
        check(one != other, f"two sessions have the id {_cut(one)}")
        longest = max(len(one), len(other))
        differ = longest - sum(a == b for a, b in zip(one, other, strict=False))
        wanted = max(SHORTEST, min(DIFFER, longest // 2))
        check(
            differ >= wanted,
            f"two session ids of {longest} characters differ in {differ} of them, fewer than"
            f" {wanted}: {_cut(one)} and {_cut(other)}",
        )


def _cut(id: str) -> str:
    """An id without its middle, which is a secret."""
    kept = min(SHOWN, len(id) // 4)
    return f"{id[:kept]}...{id[len(id) - kept :]}"


@session_hijacking.should("A new id, and 404 for the old one.")
async def ids_not_given_again(talk: ServerTalk) -> None:
    """The id of a session that has ended is given to nobody else."""
    point, session = await ended(talk)
    for _ in range(3):
        _, other = await stateful(talk)
        check(other != session, "the id of a session that has ended was given again")
    answer = await point.post(point.message())
    check_refused(answer, "the id of a session that has ended", 404)


@case.should(
    "session-hijacking/ids-bound-to-users",
    "A refusal, and the session goes on for its own user.",
    needs=(OTHER_PRINCIPAL,),
)
async def bound_to_users(talk: ServerTalk) -> None:
    """A session is of no use to another user who has its id."""
    point, session = await stateful(talk)
    other = Endpoint(talk, await talk.somebody_else())
    for method in (point.plain, "tools/list"):
        answer = await other.post(point.message(method), headers={SESSION: session})
        check_refused(answer, f"{method} of another user in a session")
    listening = [("accept", EVENT_STREAM), (SESSION, session)]
    listened = await other.fetch("GET", headers=listening)
    check_refused(listened, "GET of another user's session")
    deleted = await other.delete(session)
    check_refused(deleted, "DELETE of another user's session")
    answer = await point.post(point.message())
    check_served(answer, "the session's own user")


@session_hijacking.should("Nothing that a client is told has another client's session id in it.")
async def ids_not_told(talk: ServerTalk) -> None:
    """A client is not told the session ids of others."""
    _, secret = await stateful(talk)
    point, _ = await stateful(talk)
    method, params = talk.any_request()
    for message in (
        point.message(method, params),
        point.message("kit/unknown"),
        point.message(method, {"cursor": "kit"}),
    ):
        answer = await point.post(message)
        said = [encode(each.value) for each in answer.messages] + [answer.body]
        said += (
            [f"{name}: {value}".encode() for name, value in answer.head.headers]
            if answer.head
            else []
        )
        check(
            not any(secret.encode() in each for each in said),
            f"the answer to {message['method']} has the session id of another client",
        )
    other = await point.post(point.message(), headers={SESSION: f"{secret[:-4]}0000"})
    said = [encode(each.value) for each in other.messages] + [other.body]
    check(not any(secret.encode() in each for each in said), "a refusal has a session id")
