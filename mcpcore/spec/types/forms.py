"""The schemas of a form's fields: the small part of JSON Schema that elicitation allows.

``requested_schema`` itself stays a plain object, so that no keyword is lost; these types make its
properties, and :class:`PrimitiveSchema` reads any of them.  Source: the "Requested Schema" section
of the elicitation page of 2025-06-18 and later.
"""

from typing import Literal

from msgspec import UNSET, UnsetType

from mcpcore.spec.types.model import Model

StringFormat = Literal["email", "uri", "date", "date-time"]


class EnumOption(Model, kw_only=True):
    """One choice: the value and what to show for it."""

    const: str
    title: str


class EnumItems(Model, kw_only=True):
    """The items of a multiple choice: bare values, or options with titles."""

    type: Literal["string"] | UnsetType = UNSET
    enum: list[str] | UnsetType = UNSET
    any_of: list[EnumOption] | UnsetType = UNSET


class PrimitiveSchema(Model, kw_only=True):
    """Any field of a form; the kinds share their ``type``, so that it cannot tell them apart."""

    type: Literal["string", "number", "integer", "boolean", "array"]
    title: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    min_length: int | UnsetType = UNSET
    max_length: int | UnsetType = UNSET
    format: StringFormat | UnsetType = UNSET
    minimum: int | float | UnsetType = UNSET
    maximum: int | float | UnsetType = UNSET
    enum: list[str] | UnsetType = UNSET
    enum_names: list[str] | UnsetType = UNSET
    one_of: list[EnumOption] | UnsetType = UNSET
    items: EnumItems | UnsetType = UNSET
    min_items: int | UnsetType = UNSET
    max_items: int | UnsetType = UNSET
    default: str | int | float | bool | list[str] | UnsetType = UNSET


class StringSchema(Model, kw_only=True, tag_field="type", tag="string"):
    """A text; lengths in characters."""

    title: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    min_length: int | UnsetType = UNSET
    max_length: int | UnsetType = UNSET
    format: StringFormat | UnsetType = UNSET
    default: str | UnsetType = UNSET


class NumberSchema(Model, kw_only=True):
    """A number, or only whole ones."""

    type: Literal["number", "integer"]
    title: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    minimum: int | float | UnsetType = UNSET
    maximum: int | float | UnsetType = UNSET
    default: int | float | UnsetType = UNSET


class BooleanSchema(Model, kw_only=True, tag_field="type", tag="boolean"):
    """Yes or no."""

    title: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    default: bool | UnsetType = UNSET


class UntitledSingleSelectEnumSchema(Model, kw_only=True, tag_field="type", tag="string"):
    """One of these values."""

    title: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    enum: list[str]
    default: str | UnsetType = UNSET


class TitledSingleSelectEnumSchema(Model, kw_only=True, tag_field="type", tag="string"):
    """One of these values, each shown with a title (since 2025-11-25)."""

    title: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    one_of: list[EnumOption]
    default: str | UnsetType = UNSET


class UntitledMultiSelectEnumSchema(Model, kw_only=True, tag_field="type", tag="array"):
    """Some of these values (since 2025-11-25)."""

    title: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    items: EnumItems
    min_items: int | UnsetType = UNSET
    max_items: int | UnsetType = UNSET
    default: list[str] | UnsetType = UNSET


class TitledMultiSelectEnumSchema(UntitledMultiSelectEnumSchema, kw_only=True, tag="array"):
    """Some of these values, each shown with a title (since 2025-11-25)."""


class LegacyTitledEnumSchema(Model, kw_only=True, tag_field="type", tag="string"):
    """One of these values, shown by ``enum_names``; not for new servers."""

    title: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    enum: list[str]
    enum_names: list[str] | UnsetType = UNSET
    default: str | UnsetType = UNSET
