"""Typed decoding: raw JSON into a type of the protocol.

Content blocks are a union by ``type``, and one block of an unknown type must not invalidate
the whole message.  The decoder itself cannot keep it, so a message that fails is decoded again:
unknown blocks are set aside, the rest is decoded, and they return to their places as
:class:`~mcpcore.spec.types.content.UnknownContent`.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any, TypeVar, get_args

from msgspec import Raw, ValidationError, json

from mcpcore.spec.types.content import ContentBlock, SamplingContent, UnknownContent
from mcpcore.spec.types.model import AS_SENT

T = TypeVar("T")

_CONTENT = frozenset(block.__struct_config__.tag for block in get_args(ContentBlock))
_SAMPLING = frozenset(block.__struct_config__.tag for block in get_args(SamplingContent))


@cache
def _places() -> dict[Any, tuple[tuple[str, ...], frozenset[Any]]]:
    """Return the path of the content in each type that has any, and the kinds known there."""
    from mcpcore.spec.types import client_features, prompts, tools  # late: few ever need it

    return {
        tools.CallToolResult: (("content",), _CONTENT),
        prompts.PromptMessage: (("content",), _CONTENT),
        prompts.GetPromptResult: (("messages", "content"), _CONTENT),
        client_features.SamplingMessage: (("content",), _SAMPLING),
        client_features.CreateMessageParams: (("messages", "content"), _SAMPLING),
        client_features.CreateMessageResult: (("content",), _SAMPLING),
    }


_STAND_IN = {"type": "text", "text": ""}


_Aside = tuple[tuple[str | int, ...], dict[str, Any]]
"""Path of an unknown block, members and positions, and the block."""

_decoders: dict[Any, json.Decoder[Any]] = {}


def decoder(type: type[T]) -> json.Decoder[T]:
    """Return the one decoder of ``type``."""
    found = _decoders.get(type)
    if found is None:
        found = _decoders[type] = json.Decoder(AS_SENT.get(type, type))
    return found


def decode(data: bytes | Raw, type: type[T]) -> T:
    """Decode JSON into ``type``, keeping content blocks of unknown types.

    Raises msgspec.ValidationError, which names the member, or msgspec.DecodeError.
    """
    try:
        return decoder(type).decode(data)
    except ValidationError:
        place = _places().get(type)
        if place is None:
            raise
        tree = json.decode(data)
        aside = list(_set_aside(tree, *place))
    value = decoder(type).decode(json.encode(tree))
    for way, block in aside:
        _put_back(value, way, UnknownContent(block))
    return value


def _set_aside(
    tree: Any, members: tuple[str, ...], known: frozenset[Any], way: tuple[str | int, ...] = ()
) -> Iterator[_Aside]:
    """Replace the unknown blocks of ``tree`` and yield them."""
    if isinstance(tree, list):
        for index in range(len(tree)):
            yield from _visit(tree, index, members, known, way)
    elif isinstance(tree, dict) and members and members[0] in tree:
        yield from _visit(tree, members[0], members[1:], known, way)


def _visit(
    parent: Any, key: Any, members: tuple[str, ...], known: frozenset[Any], way: tuple[Any, ...]
) -> Iterator[_Aside]:
    node, way = parent[key], (*way, key)
    if members or isinstance(node, list):
        yield from _set_aside(node, members, known, way)
    elif isinstance(node, dict) and isinstance(kind := node.get("type"), str):
        if kind not in known:
            parent[key] = _STAND_IN
            yield way, node
        elif kind == "tool_result":
            yield from _set_aside(node, ("content",), _CONTENT, way)


def _put_back(value: Any, way: tuple[str | int, ...], block: UnknownContent) -> None:
    for step in way[:-1]:
        value = value[step] if isinstance(step, int) else getattr(value, step)
    if isinstance(way[-1], int):
        value[way[-1]] = block
    else:
        setattr(value, way[-1], block)
