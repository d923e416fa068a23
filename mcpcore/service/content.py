"""Content: values that handlers return, as the content blocks of the protocol.

Source: the "Tool Result" section of the tools page and "PromptMessage" of the prompts page.
"""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, get_args, get_origin

from msgspec import Struct

from mcpcore.errors import OutputMismatch
from mcpcore.service.custom_types import is_union
from mcpcore.service.declarations import check_icons
from mcpcore.spec.members import known_members
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.content import (
    AudioContent,
    BlobResourceContents,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
    UnknownContent,
)
from mcpcore.wire.jsontext import to_json

_BLOCKS = (TextContent, ImageContent, AudioContent, ResourceLink, EmbeddedResource, UnknownContent)

_SIGNATURES: tuple[tuple[bytes, int, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", 0, "image/png"),
    (b"\xff\xd8\xff", 0, "image/jpeg"),
    (b"GIF8", 0, "image/gif"),
    (b"WEBP", 8, "image/webp"),
    (b"WAVE", 8, "audio/wav"),
    (b"OggS", 0, "audio/ogg"),
    (b"fLaC", 0, "audio/flac"),
    (b"ID3", 0, "audio/mpeg"),
)
"""Signatures of file types: bytes, their offset, and the media type."""

_SUBTYPES = {"jpg": "jpeg", "mp3": "mpeg", "svg": "svg+xml"}
"""Subtypes of media types that differ from the name of the format."""


def _type_of(data: bytes, kind: str, format: str | None) -> str:
    if format is not None:
        return f"{kind}/{_SUBTYPES.get(format.lower(), format.lower())}"
    for signature, at, mime_type in _SIGNATURES:
        if mime_type.startswith(kind) and data.startswith(signature, at):
            return mime_type
    raise ValueError(f"cannot tell the type of this {kind} from its bytes; pass mime_type")


class _Media(Struct, frozen=True):
    data: bytes
    mime_type: str | None = None
    format: str | None = None

    def _encoded(self, kind: str) -> dict[str, Any]:
        mime_type = self.mime_type or _type_of(self.data, kind, self.format)
        return {"data": b64encode(self.data).decode(), "mime_type": mime_type}


class Image(_Media, frozen=True):
    """An image; PNG, JPEG, GIF and WebP are recognised, other types must be named.

    ``format`` is a short form of ``mime_type``: ``png`` for ``image/png``.

    >>> Image(b"<svg/>", "image/svg+xml").block().mime_type
    'image/svg+xml'
    """

    def block(self) -> ImageContent:
        """Encode the image.  Raises ValueError if its type is not recognised."""
        return ImageContent(**self._encoded("image"))


class Audio(_Media, frozen=True):
    """A sound; WAV, Ogg, FLAC and tagged MP3 are recognised; ``format`` as for :class:`Image`."""

    def block(self) -> AudioContent:
        """Encode the sound.  Raises ValueError if its type is not recognised."""
        return AudioContent(**self._encoded("audio"))


class Embedded(Struct, frozen=True):
    """Text or bytes under a URI, contents included."""

    data: str | bytes
    uri: str
    mime_type: str | None = None

    def block(self) -> EmbeddedResource:
        """Encode the resource."""
        return EmbeddedResource(resource=contents(self.uri, self.data, self.mime_type))


_LISTS = (list, tuple, Sequence, Iterable)
_HELPERS = (Image, Audio, Embedded)
_PIECES = (str, bytes, bytearray, *_BLOCKS, *_HELPERS)


def contents(
    uri: str, data: str | bytes | bytearray, mime_type: str | None
) -> TextResourceContents | BlobResourceContents:
    """Return text or bytes as the contents of a resource."""
    if isinstance(data, str):
        return TextResourceContents(uri=uri, text=data, mime_type=mime_type or "text/plain")
    mime_type = mime_type or "application/octet-stream"
    return BlobResourceContents(uri=uri, blob=b64encode(data).decode(), mime_type=mime_type)


def block(value: Any) -> ContentBlock:
    """Return the block for a string, bytes, a helper or a block.  Raises OutputMismatch."""
    if isinstance(value, str):
        return TextContent(text=value)
    if isinstance(value, _BLOCKS):
        return value
    if isinstance(value, _HELPERS):
        return value.block()
    if isinstance(value, bytes | bytearray):
        return Embedded(bytes(value), "embedded:result").block()
    text = f"expected content, got {type(value).__name__}"
    raise OutputMismatch(text, "the result is no content")


def blocks(value: Any) -> list[ContentBlock] | None:
    """Return a handler's value as content blocks, or None if it is data and no content.

    Content are None (no blocks), strings, bytes, helpers, blocks, and lists in which at least one
    item is a block, a helper or bytes; other items of such a list become JSON text.
    """
    if value is None:
        return []
    if isinstance(value, _PIECES):
        return [block(value)]
    if isinstance(value, list | tuple) and any(
        isinstance(item, _PIECES) and not isinstance(item, str) for item in value
    ):
        return [
            block(item if isinstance(item, _PIECES) else json_value(item).decode())
            for item in value
        ]
    return None


def is_content(annotation: Any) -> bool:
    """Return True if a return type is content, or is not known, so that it has no output schema."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return is_content(arguments[0])
    if is_union(origin):
        return all(is_content(inner) for inner in arguments)
    if origin in _LISTS:
        # A list of strings is data; one that may hold blocks is content.
        items = [item for item in arguments if item is not ...]
        return all(map(is_content, items)) and any(item is not str for item in items)
    if annotation in _LISTS:
        return True
    return annotation in (None, type(None), Any, object) or (
        isinstance(annotation, type) and issubclass(annotation, _PIECES)
    )


def json_value(value: Any) -> bytes:
    """Return any value as one line of JSON.  Raises OutputMismatch for one without a JSON form."""
    try:
        return to_json({"": value})[4:-1]
    except (TypeError, ValueError, RecursionError) as error:
        raise OutputMismatch(str(error), "the result has no JSON form") from error


def for_revision(found: list[ContentBlock], revision: Revision) -> list[ContentBlock]:
    """Convert blocks to the kinds and members that a revision knows.

    Without audio content, a sound becomes an embedded resource; without links, a link becomes text.
    Raises OutputMismatch for a block of a kind that no revision has, and for an unsafe icon.
    """
    return known_members([_known(each, revision) for each in found], revision)


def _known(each: ContentBlock, revision: Revision) -> ContentBlock:
    if isinstance(each, AudioContent) and not revision.audio_content:
        resource = BlobResourceContents(
            uri="embedded:audio", blob=each.data, mime_type=each.mime_type
        )
        return EmbeddedResource(resource=resource, annotations=each.annotations, meta=each.meta)
    if isinstance(each, ResourceLink):
        if not revision.resource_links:
            size = None if each.size is None else f"{each.size} bytes"
            facts = ", ".join(filter(None, (each.mime_type, size)))
            lines = (
                f"{each.title or each.name}: {each.uri}",
                each.description,
                f"({facts})" if facts else None,
            )
            text = "\n".join(filter(None, lines))
            return TextContent(text=text, annotations=each.annotations, meta=each.meta)
        try:
            check_icons(each.icons or ())
        except ValueError as error:
            rule = "the result has a link with an icon whose URI is neither https: nor data:image/"
            raise OutputMismatch(str(error), rule) from None
    elif isinstance(each, UnknownContent):
        rule = f"the result has content of a kind that {revision.name} cannot carry"
        raise OutputMismatch(f"content of the kind {each.type!r} is in no revision", rule)
    return each
