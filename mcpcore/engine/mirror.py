"""Header mirroring: the headers of a modern HTTP request that must repeat its body.

The engine checks (server) and computes (client) *values*; their encoding into header fields is
the business of ``mcpcore.http.headers``.  Source: 2026-07-28, Streamable HTTP, "Request Metadata".
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import Raw, Struct

from mcpcore.engine.bodies import members_of, read_member, text_in
from mcpcore.engine.config import Config, HeaderParams
from mcpcore.spec.errors import LocalProtocolError
from mcpcore.spec.methods import Method
from mcpcore.spec.types.base import Skim
from mcpcore.wire.jsontext import Members, shortened

SAFE_INTEGER = 2**53 - 1


class Mirror(Struct, frozen=True, kw_only=True):
    """Claims of the headers of one request, decoded; None where a header is absent.

    ``params`` is keyed by the lower-cased part of the header name after ``Mcp-Param-``.  So is
    ``unreadable``, whose values describe the error; it matters only if a tool declares the header.
    """

    version: str | None = None
    method: str | None = None
    name: str | None = None
    params: Mapping[str, str] = {}
    unreadable: Mapping[str, str] = {}


class _Arguments(Struct):
    arguments: dict[str, Raw] = {}


_decode_arguments = msgspec.json.Decoder(_Arguments).decode
_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode

_NUMBER = r"[+-]?[0-9]{1,64}(?:\.[0-9]{0,64})?(?:[eE][+-]?[0-9]{1,4})?"
"""Pattern of a number in a header: ASCII, of limited length.  Compiled when it is needed."""
_SKIMMED = {"name": "name", "uri": "uri", "taskId": "task_id"}
"""Members that ``Mcp-Name`` mirrors, and the names they have in a skim."""

# Values


def text_of(value: Any) -> str | None:
    """Return the header text of a string, an integer or a boolean; None for any other argument."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if -SAFE_INTEGER <= value <= SAFE_INTEGER else None
    return None


def value_at(arguments: Any, path: tuple[str, ...]) -> Any:
    """Return the value at a property path, None if there is none; Raw values are read.

    A whole float is an integer, as in JSON Schema: ``42.0`` and ``4.2e1`` are 42.
    """
    for step in path:
        if isinstance(arguments, Raw):
            try:
                arguments = _decode_object(arguments)
            except msgspec.MsgspecError:
                return None
        if not isinstance(arguments, dict):
            return None
        arguments = arguments.get(step)
    value = read_member(arguments) if isinstance(arguments, Raw) else arguments
    return int(value) if isinstance(value, float) and value.is_integer() else value


def same_value(claimed: str, value: Any) -> bool:
    """Return True if a header text equals the value in the body; integers compare as numbers."""
    if isinstance(value, int) and not isinstance(value, bool):
        # Decimal, as a float would be rounded.
        return (
            abs(value) <= SAFE_INTEGER
            and re.fullmatch(_NUMBER, claimed) is not None
            and Decimal(claimed) == value
        )
    return text_of(value) == claimed


# The client's side


def mirror_of(
    params: bytes | Raw | Members,
    version: str,
    method: str,
    row: Method | None,
    header_params: Mapping[str, HeaderParams],
) -> Mirror:
    """Compute the headers that mirror a request with ``params``."""
    if row is None or row.subject is None or not row.header:
        return Mirror(version=version, method=method)
    name = text_in(params, row.subject)
    wanted = header_params.get(name) if name is not None and row.header_params else None
    texts = header_arguments(params, wanted) if wanted else {}
    return Mirror(version=version, method=method, name=name, params=texts)


def header_arguments(params: bytes | Raw | Members, wanted: HeaderParams) -> dict[str, str]:
    """Return the texts of the mirrored arguments.

    Raises LocalProtocolError for an integer that no header can carry.
    """
    member = members_of(params).get("arguments")
    arguments = {} if member is None else _decode_object(member)
    texts = {}
    for name, path in wanted.items():
        value = value_at(arguments, path)
        text = text_of(value)
        if text is not None:
            texts[name] = text
        elif isinstance(value, int | Raw):
            where = f"arguments.{'.'.join(path)} cannot be mirrored in the header Mcp-Param-{name}"
            text = f"{where}: integers there are between -(2**53 - 1) and 2**53 - 1"
            raise LocalProtocolError(text)
    return texts


# The server's side


def mismatch(
    mirror: Mirror,
    version: str,
    method: str,
    row: Method | None,
    skim: Skim,
    params: Raw,
    config: Config,
    principal: str | None,
) -> str | None:
    """Return a text on how the headers contradict the body, or None if they do not."""
    if mirror.version != version:
        return _differs("MCP-Protocol-Version", mirror.version, version)
    if mirror.method != method:
        return _differs("Mcp-Method", mirror.method, method)
    if row is None or row.subject is None or not row.header:
        return None
    if mirror.name is None:
        return f"the Mcp-Name header is missing; {method} requires it"
    member: Raw | None = getattr(skim, _SKIMMED[row.subject])
    name = None if member is None else read_member(member)
    if not isinstance(name, str):
        # A name of the wrong type is refused later, when the params are decoded.
        return None
    if mirror.name != name:
        claimed, said = shortened(mirror.name), shortened(name)
        return f"the Mcp-Name header says {claimed!r}, params.{row.subject} says {said!r}"
    wanted = config.header_params.get(name) if row.header_params else None
    if not wanted or not (config.has_tool is None or config.has_tool(name, principal)):
        return None
    return argument_mismatch(mirror, wanted, params)


def _differs(header: str, claimed: str | None, actual: str) -> str:
    if claimed is None:
        return f"the {header} header is missing"
    return f"the {header} header says {shortened(claimed)!r}, the body says {shortened(actual)!r}"


def argument_mismatch(mirror: Mirror, wanted: HeaderParams, params: Raw) -> str | None:
    """Return a text on how the headers contradict the arguments, or None if they do not."""
    try:
        arguments = _decode_arguments(params).arguments
    except msgspec.MsgspecError:
        return None
    for name, path in wanted.items():
        value = value_at(arguments, path)
        claimed = mirror.params.get(name.lower())
        where = ".".join(path)
        flaw = mirror.unreadable.get(name.lower())
        if flaw is not None:
            return flaw
        if value is None:
            if claimed is not None:
                return f"the Mcp-Param-{name} header is present, arguments.{where} is not"
        elif claimed is None:
            return f"the Mcp-Param-{name} header is missing; arguments.{where} has a value"
        elif not same_value(claimed, value):
            return f"the Mcp-Param-{name} header does not match arguments.{where}"
    return None
