"""Multi-round-trip requests: the server asks by a result, the client retries with answers.

Source: 2026-07-28, patterns, "Multi Round-Trip Requests".
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct

from mcpcore.engine.bodies import OF_RETRIES, members_of
from mcpcore.engine.config import Config
from mcpcore.engine.state import Inbound, Outbound
from mcpcore.spec.capabilities import Capabilities, declares, input_capability
from mcpcore.spec.errors import CapabilityMissing, LocalProtocolError
from mcpcore.spec.methods import lookup_embedded
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.base import EmbeddedRequest
from mcpcore.wire.jsontext import Body, Members, to_json

_decode_question = msgspec.json.Decoder(EmbeddedRequest).decode


class InputRequest(Struct, frozen=True):
    """Question to the client: a request without an id."""

    method: str
    params: Body = None


# The server's side


def input_required(
    record: Inbound, requests: Mapping[str, InputRequest | Raw], state: str | None
) -> bytes:
    """Build the ``input_required`` result, without ``resultType`` and ``_meta``.

    Raises LocalProtocolError, CapabilityMissing for a question that the client did not allow, and
    msgspec.MsgspecError for a Raw that is no question.
    """
    if record.row is None or not record.row.needs_input:
        raise LocalProtocolError(f"{record.method} cannot require input in {record.revision.name}")
    if not requests and state is None:
        raise LocalProtocolError("input_required needs requests, a state, or both")
    members: dict[str, Any] = {}
    if requests:
        members["inputRequests"] = {
            key: _question(record, request) for key, request in requests.items()
        }
    if state is not None:
        members["requestState"] = state
    return to_json(members)


def _question(record: Inbound, asked: InputRequest | Raw) -> dict[str, Any] | Raw:
    request = _decode_question(asked) if isinstance(asked, Raw) else asked
    if lookup_embedded(request.method, record.revision) is None:
        raise LocalProtocolError(f"{request.method} cannot be asked in an input round")
    params = Raw(to_json(request.params))
    path = input_capability(request.method, params)
    if path is not None and not declares(record.capabilities, path):
        raise CapabilityMissing(path)
    return asked if isinstance(asked, Raw) else {"method": request.method, "params": params}


# The client's side


def refuse_questions(
    questions: Mapping[str, Raw], revision: Revision, config: Config, declared: Capabilities
) -> str | None:
    """Check the questions of a server; return which may not be asked and why, or None.

    ``declared``: the capabilities of the client for the request that they belong to.
    """
    for key, raw in questions.items():
        try:
            question = _decode_question(raw)
            params = Raw(b"{}") if question.params is None else question.params
            path = input_capability(question.method, params)
        except msgspec.MsgspecError as error:
            return f"invalid result: inputRequests.{key}: {error}"
        if question.method in config.extension_methods:
            continue
        if lookup_embedded(question.method, revision) is None:
            return f"invalid result: the server cannot ask for {question.method}"
        if path is not None and not declares(declared, path):
            return f"the server asks for {question.method}, but we did not declare {path!r}"
    return None


def retry_body(request: Outbound, responses: Mapping[str, Body]) -> Members:
    """Build the params of a retry: the original ones, the answers, the state byte for byte."""
    members = dict(members_of(request.original))
    for name in OF_RETRIES:  # of another round, if a relay asks
        members.pop(name, None)
    if responses:
        answers = {key: Raw(to_json(body)) for key, body in responses.items()}
        members["inputResponses"] = Raw(to_json(answers))
    if request.input_state is not None:
        members["requestState"] = Raw(msgspec.json.encode(request.input_state))
    return members


def is_web_url(url: str) -> bool:
    """Return True for a URL that a browser can visit: http or https, with a host, no blanks."""
    from urllib.parse import urlsplit  # late: few are asked to visit one

    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(host) and url.isprintable() and " " not in url
