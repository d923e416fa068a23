"""Messages as each revision has them, by the table of methods."""

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from mcpcore.spec.methods import METHODS, Method, MethodKind, lookup
from mcpcore.spec.revisions import BY_NAME, LATEST, Revision
from mcpcore.spec.types.base import (
    META_CLIENT_CAPABILITIES,
    META_CLIENT_INFO,
    META_PROTOCOL_VERSION,
)
from mcpcore_conformance.strategies.types import json_objects, json_values, text, values_of

Message = dict[str, Any]
_HUGE = 10**30


def known(revision: str) -> Revision:
    """The revision of this name; raises ValueError if there is none."""
    found = BY_NAME.get(revision)
    if found is None:
        raise ValueError(f"there is no revision {revision!r}; there are {', '.join(BY_NAME)}")
    return found


def ids() -> SearchStrategy[str | int]:
    """Ids of requests: strings and integers, those that programs mistake for others among them."""
    odd: SearchStrategy[str | int] = st.sampled_from(
        [0, -1, 1, "1", "", "0", 2**53, 2**53 + 1, 2**63, _HUGE, "null"]
    )
    return odd | st.integers(-_HUGE, _HUGE) | text()


def progress_tokens() -> SearchStrategy[str | int]:
    """Tokens of progress: as ids."""
    return ids()


def params_of(
    method: str, *, revision: str = LATEST.name, sender: str = "client"
) -> SearchStrategy[Message]:
    """Params of a method, with the ``_meta`` that its revision needs."""
    row = _row(method, sender, revision)
    return _params(row, known(revision), sender)


def results_of(
    method: str, *, revision: str = LATEST.name, sender: str = "client"
) -> SearchStrategy[Message]:
    """Complete results of a request that ``sender`` has sent."""
    row = _row(method, sender, revision)
    if row.result is None:
        raise ValueError(f"{method} is a notification, it has no result")
    found = known(revision)
    made = values_of(row.result)
    needed: Message = {"resultType": "complete"} if found.result_type else {}
    if row.cacheable:
        needed |= {"ttlMs": 0, "cacheScope": "private"}
    if not found.modern:
        return made.map(lambda result: _without(result, _MODERN_MEMBERS))
    return made.map(lambda result: {**result, **needed})


def requests(
    *, revision: str = LATEST.name, sender: str = "client", method: str | None = None
) -> SearchStrategy[Message]:
    """Requests that ``sender`` may send in a revision, of one method or of all."""
    return _of_kind(MethodKind.REQUEST, revision, sender, method).flatmap(
        lambda row: st.builds(
            lambda id, params: {"jsonrpc": "2.0", "id": id, "method": row.name, "params": params},
            ids(),
            _params(row, known(revision), sender),
        )
    )


def notifications(
    *, revision: str = LATEST.name, sender: str = "client", method: str | None = None
) -> SearchStrategy[Message]:
    """Notifications that ``sender`` may send in a revision, of one method or of all."""
    return _of_kind(MethodKind.NOTIFICATION, revision, sender, method).flatmap(
        lambda row: values_of(row.params).map(
            lambda params: {"jsonrpc": "2.0", "method": row.name, "params": params}
        )
    )


def responses(result: SearchStrategy[Any] | None = None) -> SearchStrategy[Message]:
    """Answers, good (with a result of ``result``, or any object) and bad."""
    good = st.builds(
        lambda id, value: {"jsonrpc": "2.0", "id": id, "result": value},
        ids(),
        json_objects() if result is None else result,
    )
    error = st.fixed_dictionaries(
        {"code": st.integers(-32768, 32767), "message": text()}, optional={"data": json_values(3)}
    )
    bad = st.builds(lambda id, error: {"jsonrpc": "2.0", "id": id, "error": error}, ids(), error)
    return good | bad


def messages(*, revision: str = LATEST.name, sender: str = "client") -> SearchStrategy[Message]:
    """Everything that ``sender`` may send in a revision."""
    kinds = [notifications(revision=revision, sender=sender)]
    if _rows(MethodKind.REQUEST, revision, sender):
        kinds.append(requests(revision=revision, sender=sender))
    if sender == "server" or known(revision).server_requests:
        kinds.append(responses())
    return st.one_of(kinds)


def batches(*, sender: str = "client", max_size: int = 5) -> SearchStrategy[list[Message]]:
    """Batches, which only 2025-03-26 has, with ids that differ."""
    revision = next(each.name for each in BY_NAME.values() if each.batches)
    return st.lists(
        messages(revision=revision, sender=sender).filter(
            lambda message: message.get("method") != "initialize"
        ),
        min_size=1,
        max_size=max_size,
        unique_by=lambda message: repr(message.get("id", id(message))),
    )


def _row(method: str, sender: str, revision: str) -> Method:
    row = lookup(method, sender, known(revision))
    if row is None:
        raise ValueError(f"a {sender} sends no {method!r} in {revision}")
    return row


def _rows(kind: MethodKind, revision: str, sender: str) -> list[Method]:
    found = (lookup(each.name, sender, known(revision)) for each in METHODS)
    return [row for row in found if row is not None and row.kind is kind and row.extension is None]


def _of_kind(
    kind: MethodKind, revision: str, sender: str, method: str | None
) -> SearchStrategy[Method]:
    rows = _rows(kind, revision, sender) if method is None else [_row(method, sender, revision)]
    return st.sampled_from(rows)


def _params(row: Method, revision: Revision, sender: str) -> SearchStrategy[Message]:
    made = values_of(row.params)
    if not revision.input_rounds:
        made = made.map(lambda params: _without(params, _ROUND_MEMBERS))
    if not revision.modern or sender != "client" or row.kind is not MethodKind.REQUEST:
        return made
    meta = {
        META_PROTOCOL_VERSION: revision.name,
        META_CLIENT_INFO: {"name": "generated", "version": "1"},
        META_CLIENT_CAPABILITIES: {},
    }
    return made.map(lambda params: {**params, "_meta": meta})


def _without(value: Message, members: Sequence[str]) -> Message:
    return {name: each for name, each in value.items() if name not in members}


_MODERN_MEMBERS = ("resultType", "ttlMs", "cacheScope")
_ROUND_MEMBERS = ("inputResponses", "requestState")
