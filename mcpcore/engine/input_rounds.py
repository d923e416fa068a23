"""Multi-round-trip requests: the server asks by a result, the client retries with answers.

Source: 2026-07-28, patterns, "Multi Round-Trip Requests".
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct

from mcpcore.engine.requests import Inbound, Outbound
from mcpcore.spec.capabilities import declares, input_capability
from mcpcore.spec.errors import CapabilityMissing, LocalProtocolError
from mcpcore.spec.methods import lookup_embedded
from mcpcore.wire.message import Body, splice, to_json


class InputRequest(Struct, frozen=True):
    """One question to the client: a request without an id."""

    method: str
    params: Body = None


def input_required(
    record: Inbound, requests: Mapping[str, InputRequest], state: str | None
) -> bytes:
    """Build the ``input_required`` result, without ``resultType`` and ``_meta``.

    Raises LocalProtocolError where the method or the revision has no input rounds, or nothing is
    asked; CapabilityMissing where the client did not declare what a question needs.
    """
    row = record.row
    if row is None or not row.needs_input or not record.revision.input_rounds:
        raise LocalProtocolError(f"{record.method} cannot require input in {record.revision.name}")
    if not requests and state is None:
        raise LocalProtocolError("input_required needs requests, a state, or both")
    members: dict[str, Any] = {}
    if requests:
        questions: dict[str, Raw] = {}
        for key, request in requests.items():
            if lookup_embedded(request.method, record.revision) is None:
                raise LocalProtocolError(f"{request.method} cannot be asked in an input round")
            params = Raw(to_json(request.params))
            path = input_capability(request.method, params)
            if path is not None and not declares(record.capabilities, path):
                raise CapabilityMissing(path)
            question: dict[str, Any] = {"method": request.method, "params": params}
            questions[key] = Raw(msgspec.json.encode(question))
        members["inputRequests"] = questions
    if state is not None:
        members["requestState"] = state
    return to_json(members)


def retry_body(request: Outbound, responses: Mapping[str, Body]) -> bytes:
    """Build the params of a retry: the original ones, the answers, the state byte for byte."""
    members: list[bytes] = []
    if responses:
        answers = {key: Raw(to_json(body)) for key, body in responses.items()}
        members.append(b'"inputResponses":' + msgspec.json.encode(answers))
    if request.input_state is not None:
        members.append(b'"requestState":' + msgspec.json.encode(request.input_state))
    return splice(request.body, b",".join(members)) if members else request.body
