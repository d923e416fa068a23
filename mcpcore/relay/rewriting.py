"""Rewriting of single members in a JSON text, all others byte for byte.

A path names members from the outside in; ``*`` stands for every element of an array, and
``?resource_link`` passes only an object with that ``type``.
"""

from collections.abc import Callable

from msgspec import MsgspecError, Raw
from msgspec.json import Decoder, Encoder

from mcpcore.wire.jsontext import to_json

Path = tuple[str, ...]
Change = Callable[[Raw], Raw | None]
"""Function from a member to its replacement; None leaves out the array element around it."""

members_of = Decoder(dict[str, Raw]).decode
elements_of = Decoder(list[Raw]).decode
text_of = Decoder(str).decode
encode = Encoder().encode
_BRACKET = ord("[")


def path(text: str) -> Path:
    """Return the path that is written with slashes."""
    return tuple(text.split("/"))


def rewrite(text: Raw, way: Path, change: Change) -> Raw:
    """Return ``text`` with the member at ``way`` changed; as it is if that is not there.

    An element of another shape than the specification's stays, and its neighbours are changed.
    """
    plain = bytes(text)
    if way[-1].encode() not in plain and b"\\u" not in plain:  # an escape could hide the name
        return text
    found = _rewrite(text, way, change)
    return text if found is None else found


def _rewrite(text: Raw, way: Path, change: Change) -> Raw | None:
    try:
        return _changed(text, way, change)
    except MsgspecError:  # nothing there is known
        return text


def _changed(text: Raw, way: Path, change: Change) -> Raw | None:
    if not way:
        return change(text)
    step, rest = way[0], way[1:]
    if step == "*":
        if memoryview(text)[0] != _BRACKET:
            return text  # a word in the place of a list, as with the files of a dynamic skill
        elements = elements_of(text)
        changed = [_rewrite(element, rest, change) for element in elements]
        if all(new is old for new, old in zip(changed, elements, strict=True)):
            return text
        return Raw(encode([element for element in changed if element is not None]))
    members = members_of(text)
    if step.startswith("?"):
        named = "type" in members and text_of(members["type"]) == step[1:]
        return _rewrite(text, rest, change) if named else text
    if step not in members:
        return text
    new = _rewrite(members[step], rest, change)
    if new is None or new is members[step]:
        return None if new is None else text
    return Raw(to_json({**members, step: new}))


def on_text(change: Callable[[str], str | None]) -> Change:
    """Return the change of a member that is a string; any other stays."""

    def changed(member: Raw) -> Raw | None:
        text = text_of(member)
        new = change(text)
        if new is None:
            return None
        return member if new == text else Raw(encode(new))

    return changed
