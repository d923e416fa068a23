"""Offers: of a server, of a file of ``mcpcore list --json``, or of a trace."""

import os
import shlex
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import structs

from mcpcore.errors import BadTrace
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

__all__ = ["METHODS", "Offer", "of_trace", "offer_of"]

Offer = dict[str, Any]
"""Lists by member, as on the wire, and ``instructions``; what is unknown is absent."""

METHODS = {
    "tools/list": "tools",
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
}
"""Members of an offer by the methods that list them."""
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
    _, target = split_target([word] if options.command is None else [], options)
    return converse(target, options, _of_server)


async def _of_server(client: Client) -> Offer:
    offer: Offer = {"instructions": client.instructions or ""}
    for listing in KINDS.values():
        if listing.member in METHODS.values():
            declared = declares(client.capabilities, listing.capability)
            items = await listing.fetch(client) if declared else []
            offer[listing.member] = msgspec.to_builtins(items)
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
    except OSError as error:
        raise wrong(f"{name}: {error.strerror}") from error
    except (BadTrace, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise wrong(f"{name}: {error}") from error
    offer = {member: found[member] for member in METHODS.values() if member in found}
    if not offer:
        raise wrong(f"{name}: expected one of {', '.join(METHODS.values())}, as in list --json")
    for member, items in offer.items():
        if not isinstance(items, list) or not all(isinstance(each, dict) for each in items):
            raise wrong(f"{name}: {member}: expected a list of objects")
    return offer


def of_trace(trace: TraceFile) -> Offer:
    """Return what the server of a trace has listed last, whatever the session."""
    offer: Offer = {}
    asked: dict[tuple[Any, str], Said] = {}
    router = Router(trace.header)
    for said in (each for entry in trace.entries for each in router.follow(entry)):
        place = (said.key, id_key(said.id))
        if said.kind == "request" and said.direction == TO_SERVER:
            asked[place] = said
        elif said.kind == "result" and (question := asked.pop(place, None)) is not None:
            _take(offer, question, said.result)
    return offer


def _take(offer: Offer, question: Said, result: Mapping[str, Any]) -> None:
    if question.method in ("initialize", "server/discover"):
        offer["instructions"] = str(result.get("instructions") or "")
    member = METHODS.get(question.method)
    items = None if member is None else result.get(member)
    if member is not None and isinstance(items, list):
        before = offer.get(member, []) if question.params.get("cursor") else []
        offer[member] = [*before, *(each for each in items if isinstance(each, dict))]
