"""Content blocks of tools, prompts, models and resources.

Source: the "Tool Result" section of the tools page and the sampling page of each revision.
"""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from msgspec import field

from mcpcore.spec.types.base import Annotations, Icon, Meta
from mcpcore.spec.types.model import Maybe, Model, as_sent


class TextContent(Model, kw_only=True, tag_field="type", tag="text"):
    """Plain text."""

    type: ClassVar[Literal["text"]] = "text"
    text: str
    annotations: Maybe[Annotations] = None
    meta: Maybe[Meta] = field(default=None, name="_meta")


class ImageContent(Model, kw_only=True, tag_field="type", tag="image"):
    """An image; ``data`` is base64."""

    type: ClassVar[Literal["image"]] = "image"
    data: str
    mime_type: str
    annotations: Maybe[Annotations] = None
    meta: Maybe[Meta] = field(default=None, name="_meta")


class AudioContent(Model, kw_only=True, tag_field="type", tag="audio"):
    """A sound (since 2025-03-26); ``data`` is base64."""

    type: ClassVar[Literal["audio"]] = "audio"
    data: str
    mime_type: str
    annotations: Maybe[Annotations] = None
    meta: Maybe[Meta] = field(default=None, name="_meta")


class ResourceContents(Model, kw_only=True):
    """Contents of a resource: ``text``, or base64 in ``blob``.

    The wire form has no tag, so both kinds decode to this class; to make one, use
    :class:`TextResourceContents` or :class:`BlobResourceContents`.
    """

    uri: str
    mime_type: Maybe[str] = None
    text: Maybe[str] = None
    blob: Maybe[str] = None
    meta: Maybe[Meta] = field(default=None, name="_meta")

    def __post_init__(self) -> None:
        if self.text is None and self.blob is None:
            raise ValueError("Object missing required field `text` or `blob`")


class TextResourceContents(ResourceContents, kw_only=True):
    """Contents of a resource as text."""

    text: str


class BlobResourceContents(ResourceContents, kw_only=True):
    """Contents of a resource as bytes, in base64."""

    blob: str


class EmbeddedResource(Model, kw_only=True, tag_field="type", tag="resource"):
    """Resource embedded with its contents."""

    type: ClassVar[Literal["resource"]] = "resource"
    resource: ResourceContents
    annotations: Maybe[Annotations] = None
    meta: Maybe[Meta] = field(default=None, name="_meta")


class ResourceLink(Model, kw_only=True, tag_field="type", tag="resource_link"):
    """Link to a resource (since 2025-06-18), which need not be listed."""

    type: ClassVar[Literal["resource_link"]] = "resource_link"
    uri: str
    name: str
    title: Maybe[str] = None
    description: Maybe[str] = None
    mime_type: Maybe[str] = None
    size: Maybe[int] = None
    icons: list[Icon] = field(default_factory=list)
    annotations: Maybe[Annotations] = None
    meta: Maybe[Meta] = field(default=None, name="_meta")


class UnknownContent(dict[str, Any]):
    """Block of a type that no revision defines, kept as the JSON object it was.

    A decoder yields one only through :func:`mcpcore.spec.decoding.decode`.
    """

    @property
    def type(self) -> str:
        """Unknown type of the block."""
        return str(self["type"])


if TYPE_CHECKING:
    ContentBlock = (
        TextContent | ImageContent | AudioContent | ResourceLink | EmbeddedResource | UnknownContent
    )
else:
    # A decoder cannot hold a dict beside tagged Structs, so it never sees UnknownContent.
    ContentBlock = TextContent | ImageContent | AudioContent | ResourceLink | EmbeddedResource


class ToolUseContent(Model, kw_only=True, tag_field="type", tag="tool_use"):
    """Sampling (since 2025-11-25): the model's request to call a tool."""

    type: ClassVar[Literal["tool_use"]] = "tool_use"
    id: str
    name: str
    input: dict[str, Any]
    meta: Maybe[Meta] = field(default=None, name="_meta")


class ToolResultContent(Model, kw_only=True, tag_field="type", tag="tool_result"):
    """Sampling (since 2025-11-25): the result of that tool."""

    type: ClassVar[Literal["tool_result"]] = "tool_result"
    tool_use_id: str
    content: list[ContentBlock]
    structured_content: Any = None
    is_error: bool = False
    meta: Maybe[Meta] = field(default=None, name="_meta")


if TYPE_CHECKING:
    SamplingContent = (
        TextContent
        | ImageContent
        | AudioContent
        | ToolUseContent
        | ToolResultContent
        | UnknownContent
    )
else:
    SamplingContent = (
        TextContent
        | ImageContent
        | AudioContent
        | ToolUseContent
        | as_sent(ToolResultContent, "structured_content")
    )
