"""Conversations: what a client may lawfully send, one message after another."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from mcpcore.spec.methods import lookup
from mcpcore.spec.revisions import LATEST
from mcpcore_conformance.strategies.messages import Message, ids, known, params_of, requests

_ONCE = "initialize"


@st.composite
def _conversation(draw: DrawFn, revision: str, max_size: int) -> list[Message]:
    row = known(revision)
    used: set[tuple[type, str]] = set()
    open_ids: list[Any] = []
    said: list[Message] = []

    def unused(id: Any) -> bool:
        return (type(id), str(id)) not in used

    def ask(message: Message) -> None:
        message["id"] = draw(ids().filter(unused))
        used.add((type(message["id"]), str(message["id"])))
        said.append(message)

    if row.handshake:
        opening = draw(params_of("initialize", revision=revision))
        opening["protocolVersion"] = revision
        ask({"jsonrpc": "2.0", "method": "initialize", "params": opening})
        said.append({"jsonrpc": "2.0", "method": "notifications/initialized"})
    for _ in range(draw(st.integers(1, max_size))):
        if open_ids and draw(st.integers(0, 3)) == 0:
            said.append(_cancelled(open_ids.pop(draw(st.integers(0, len(open_ids) - 1)))))
            continue
        message = draw(requests(revision=revision).filter(lambda found: found["method"] != _ONCE))
        ask(message)
        open_ids.append(message["id"])
    return said


def conversations(
    *, revision: str = LATEST.name, max_size: int = 8
) -> SearchStrategy[list[Message]]:
    """What a client sends: the opening of its era, then requests and cancellations.

    No id is used twice, ``initialize`` comes first and is never cancelled, and nothing is cancelled
    that was not asked.
    """
    assert lookup("notifications/cancelled", "client", known(revision)) is not None
    return _conversation(revision, max_size)


def _cancelled(id: Any) -> Message:
    params = {"requestId": id}
    return {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}
