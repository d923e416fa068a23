"""Client features: requests of a server to a client's model, user and file system.

Sampling asks the model, elicitation the user, by a form or a URL; roots are the places where the
server may work.  The fields of a form are a small part of JSON Schema.  ``requested_schema`` stays
a plain object, so that no keyword is lost; types such as :class:`StringSchema` make its properties,
and :class:`PrimitiveSchema` reads any of them.  Source: the pages of the three in each revision.
"""

from typing import Any, Literal

from msgspec import field

from mcpcore.spec.types import base
from mcpcore.spec.types.content import SamplingContent
from mcpcore.spec.types.model import Maybe, Model
from mcpcore.spec.types.tools import Tool


class SamplingMessage(Model, kw_only=True):
    """Message of a dialogue; ``content`` is one block, since 2025-11-25 also a list of blocks."""

    role: base.Role
    content: SamplingContent | list[SamplingContent]
    meta: Maybe[base.Meta] = field(default=None, name="_meta")


class ModelHint(Model, kw_only=True):
    """Part of the name of a suitable model."""

    name: Maybe[str] = None


class ModelPreferences(Model, kw_only=True):
    """Criteria for choosing a model; priorities from 0 to 1."""

    hints: list[ModelHint] = field(default_factory=list)
    cost_priority: Maybe[float] = None
    speed_priority: Maybe[float] = None
    intelligence_priority: Maybe[float] = None


class ToolChoice(Model, kw_only=True):
    """Permission or duty of the model to use tools: it may, must or must not."""

    mode: Maybe[Literal["auto", "required", "none"]] = None


class CreateMessageParams(base.RequestParams, kw_only=True):
    """Params of ``sampling/createMessage``; ``max_tokens`` in tokens."""

    messages: list[SamplingMessage]
    max_tokens: int
    model_preferences: Maybe[ModelPreferences] = None
    system_prompt: Maybe[str] = None
    include_context: Maybe[Literal["none", "thisServer", "allServers"]] = None
    temperature: Maybe[float] = None
    stop_sequences: list[str] = field(default_factory=list)
    metadata: Maybe[dict[str, Any]] = None
    tools: Maybe[list[Tool]] = None
    tool_choice: Maybe[ToolChoice] = None
    task: Maybe[base.TaskMetadata] = None


class CreateMessageResult(base.Result, kw_only=True):
    """Result of ``sampling/createMessage``: the message of the model.

    ``stop_reason`` is open; known ones: ``endTurn``, ``stopSequence``, ``maxTokens``, ``toolUse``.
    """

    role: base.Role
    content: SamplingContent | list[SamplingContent]
    model: str
    stop_reason: Maybe[str] = None


class Root(Model, kw_only=True):
    """Root: a place, as a ``file://`` URI."""

    uri: str
    name: Maybe[str] = None
    meta: Maybe[base.Meta] = field(default=None, name="_meta")


class ListRootsResult(base.Result, kw_only=True):
    """Result of ``roots/list``: all roots."""

    roots: list[Root]


class ElicitParams(base.RequestParams, kw_only=True):
    """Params of ``elicitation/create``: a form to fill in, or a URL to visit.

    No ``mode`` means form.  The tag is optional on the wire, so both modes decode to this class; to
    make one, use :class:`ElicitFormParams` or :class:`ElicitUrlParams`.
    """

    message: str
    mode: Maybe[Literal["form", "url"]] = None
    requested_schema: Maybe[dict[str, Any]] = None
    url: Maybe[str] = None
    elicitation_id: Maybe[str] = None
    task: Maybe[base.TaskMetadata] = None

    def __post_init__(self) -> None:
        if self.mode == "url":
            if self.url is None:
                raise ValueError("Object missing required field `url` of mode `url`")
        elif self.requested_schema is None:
            raise ValueError("Object missing required field `requestedSchema` of mode `form`")
        elif not isinstance(self.requested_schema.get("properties", {}), dict):
            raise ValueError("`properties` of `requestedSchema` is no object")
        elif not _are_names(self.requested_schema.get("required", [])):
            raise ValueError("`required` of `requestedSchema` is no array of strings")


def _are_names(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)


class ElicitFormParams(ElicitParams, kw_only=True):
    """Form to fill in: a flat object schema of primitive properties."""

    mode: Maybe[Literal["form"]] = None
    requested_schema: dict[str, Any]


class ElicitUrlParams(ElicitParams, kw_only=True):
    """URL for the user to visit (since 2025-11-25); ``elicitation_id`` in that revision only."""

    mode: Literal["url"]
    url: str


class ElicitResult(base.Result, kw_only=True):
    """Action of the user; ``content`` only with ``accept``."""

    action: Literal["accept", "decline", "cancel"]
    content: Maybe[dict[str, str | int | float | bool | list[str]]] = None


class ElicitationCompleteParams(base.NotificationParams, kw_only=True):
    """``notifications/elicitation/complete`` (2025-11-25): the visit to the URL has ended."""

    elicitation_id: str


class UrlElicitationRequiredData(Model, kw_only=True):
    """Data of -32042 (2025-11-25): URLs to visit before the request can succeed."""

    elicitations: list[ElicitUrlParams]


# Fields of a form

StringFormat = Literal["email", "uri", "date", "date-time"]


class EnumOption(Model, kw_only=True):
    """Option of a choice: the value and its title to show."""

    const: str
    title: str


class EnumItems(Model, kw_only=True):
    """Items of a multiple choice: bare values, or options with titles."""

    type: Maybe[Literal["string"]] = None
    enum: Maybe[list[str]] = None
    any_of: Maybe[list[EnumOption]] = None


class PrimitiveSchema(Model, kw_only=True):
    """Any field of a form; the kinds share their ``type``, so that it cannot tell them apart."""

    type: Literal["string", "number", "integer", "boolean", "array"]
    title: Maybe[str] = None
    description: Maybe[str] = None
    min_length: Maybe[int] = None
    max_length: Maybe[int] = None
    format: Maybe[StringFormat] = None
    minimum: Maybe[int | float] = None
    maximum: Maybe[int | float] = None
    enum: Maybe[list[str]] = None
    enum_names: Maybe[list[str]] = None
    one_of: Maybe[list[EnumOption]] = None
    items: Maybe[EnumItems] = None
    min_items: Maybe[int] = None
    max_items: Maybe[int] = None
    default: Maybe[str | int | float | bool | list[str]] = None


class _Field(Model, kw_only=True, tag_field="type"):
    title: Maybe[str] = None
    description: Maybe[str] = None


class StringSchema(_Field, kw_only=True, tag="string"):
    """Text field; lengths in characters."""

    min_length: Maybe[int] = None
    max_length: Maybe[int] = None
    format: Maybe[StringFormat] = None
    default: Maybe[str] = None


class NumberSchema(Model, kw_only=True):
    """Number field, or one of whole numbers only."""

    type: Literal["number", "integer"]
    title: Maybe[str] = None
    description: Maybe[str] = None
    minimum: Maybe[int | float] = None
    maximum: Maybe[int | float] = None
    default: Maybe[int | float] = None


class BooleanSchema(_Field, kw_only=True, tag="boolean"):
    """Yes-or-no field."""

    default: Maybe[bool] = None


class UntitledSingleSelectEnumSchema(_Field, kw_only=True, tag="string"):
    """Choice of one value."""

    enum: list[str]
    default: Maybe[str] = None


class TitledSingleSelectEnumSchema(_Field, kw_only=True, tag="string"):
    """Choice of one value, each shown with a title (since 2025-11-25)."""

    one_of: list[EnumOption]
    default: Maybe[str] = None


class UntitledMultiSelectEnumSchema(_Field, kw_only=True, tag="array"):
    """Choice of several values (since 2025-11-25)."""

    items: EnumItems
    min_items: Maybe[int] = None
    max_items: Maybe[int] = None
    default: Maybe[list[str]] = None


class TitledMultiSelectEnumSchema(UntitledMultiSelectEnumSchema, kw_only=True, tag="array"):
    """Choice of several values, each shown with a title (since 2025-11-25)."""


class LegacyTitledEnumSchema(_Field, kw_only=True, tag="string"):
    """Choice of one value, shown by ``enum_names``; not for new servers."""

    enum: list[str]
    enum_names: Maybe[list[str]] = None
    default: Maybe[str] = None
