"""Offers: of a server, of a file of ``mcpcore list --json``, or of a trace."""

import os
import shlex
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import structs

from mcpcore.errors import BadTarget, BadTrace
from mcpcore.policy.differences import ServerDescription, describe_server
from mcpcore.spec import types
from mcpcore.spec.capabilities import declares
from mcpcore.trace.format import TO_SERVER
from mcpcore_conformance.trace.book import id_key
from mcpcore_conformance.trace.dialogue import Router, Said
from mcpcore_conformance.trace.reading import TraceFile, parse
from mcpcore_transports.client.client import Client
from mcpcore_transports.commands.client import KINDS
from mcpcore_transports.commands.options import ConnectOptions
from mcpcore_transports.commands.output import wrong
from mcpcore_transports.commands.target import converse, split_target

Offer = dict[str, Any]
"""Declarations by list, and ``instructions``; what is unknown is absent."""

_TYPES: dict[str, Any] = {
    "tools": list[types.Tool],
    "prompts": list[types.Prompt],
    "resourceTemplates": list[types.ResourceTemplate],
    "resources": list[types.Resource],
}
"""Types of declarations by the member of a result, or of a file, that lists them."""
_METHODS = {
    "tools/list": "tools",
    "prompts/list": "prompts",
    "resources/templates/list": "resourceTemplates",
    "resources/list": "resources",
}
_MOST = 64 * 1024 * 1024
"""Maximum bytes of a file."""


def offer_of(word: str, options: ConnectOptions) -> Offer:
    """Return what a word stands for: a file, a URL, a command of several words, or a name.

    Without a word it is the command of the options.  Raises BadTarget, Failure.
    """
    if word and "://" not in word and os.path.isfile(word):
        return _of_file(word)
    if word:
        spoken = tuple(shlex.split(word)) if " " in word and "://" not in word else None
        options = structs.replace(options, command=spoken)
    try:
        _, target = split_target([word] if options.command is None else [], options)
    except BadTarget as error:
        if options.command is None and "://" not in word:
            raise wrong(f"{error}; nor is there a file {word!r}") from None
        raise
    return converse(target, options, _of_server)


def described(one: Offer, other: Offer) -> tuple[ServerDescription, ServerDescription]:
    """Return the descriptions of two offers, as far as both are known.

    Raises ValueError if they have no list in common.
    """
    common = one.keys() & other.keys()
    if not common & _TYPES.keys():
        raise ValueError("they have no list in common")
    first, second = (
        describe_server(
            instructions=offer["instructions"] if "instructions" in common else None,
            tools=offer["tools"] if "tools" in common else (),
            prompts=offer["prompts"] if "prompts" in common else (),
            resource_templates=offer["resourceTemplates"] if "resourceTemplates" in common else (),
            resources=offer["resources"] if "resources" in common else (),
        )
        for offer in (one, other)
    )
    return first, second


async def _of_server(client: Client) -> Offer:
    offer: Offer = {"instructions": client.instructions}
    for listing in KINDS.values():
        if listing.member in _TYPES:
            declared = declares(client.capabilities, listing.capability)
            offer[listing.member] = await listing.fetch(client) if declared else []
    return offer


def _of_file(name: str) -> Offer:
    try:
        with open(name, "rb") as file:
            data = file.read(_MOST + 1)
        if len(data) > _MOST:
            raise wrong(f"{name}: larger than {_MOST} bytes")
        if data.lstrip().startswith(b'{"trace":'):
            return of_trace(parse(data.splitlines(keepends=True)))
        found = msgspec.json.decode(data, type=dict[str, Any])
        offer = {member: found[member] for member in _TYPES if member in found}
        if not offer:
            raise wrong(f"{name}: expected one of {', '.join(_TYPES)}, as in list --json")
        return _typed(offer)
    except OSError as error:
        raise wrong(f"{name}: {error.strerror}") from error
    except (BadTrace, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise wrong(f"{name}: {error}") from error


def _typed(offer: Offer) -> Offer:
    """Return lists of JSON as declarations.  Raises msgspec.ValidationError."""
    return {
        member: msgspec.convert(items, _TYPES[member]) if member in _TYPES else items
        for member, items in offer.items()
    }


def of_trace(trace: TraceFile) -> Offer:
    """Return the last lists of the server of a trace, whatever the session.

    Raises msgspec.ValidationError for declarations that are none.
    """
    offer: Offer = {}
    asked: dict[tuple[Any, str], Said] = {}
    router = Router(trace.header)
    for said in (each for entry in trace.entries for each in router.follow(entry)):
        place = (said.key, id_key(said.id))
        if said.kind == "request" and said.direction == TO_SERVER:
            asked[place] = said
        elif said.kind == "result" and (question := asked.pop(place, None)) is not None:
            _take(offer, question, said.result)
    return _typed(offer)


def _take(offer: Offer, question: Said, result: Mapping[str, Any]) -> None:
    if question.method in ("initialize", "server/discover"):
        offer["instructions"] = str(result.get("instructions") or "") or None
    member = _METHODS.get(question.method)
    items = None if member is None else result.get(member)
    if member is not None and isinstance(items, list):
        before = offer.get(member, []) if question.params.get("cursor") else []
        offer[member] = [*before, *items]
