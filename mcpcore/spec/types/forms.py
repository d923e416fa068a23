"""Schemas of a form's fields: the small part of JSON Schema that elicitation allows.

``requested_schema`` itself stays a plain object, so that no keyword is lost; these types make its
properties, and :class:`PrimitiveSchema` reads any of them.  Source: the "Requested Schema" section
of the elicitation page of 2025-06-18 and later.
"""

from typing import Literal

from mcpcore.spec.types.model import Maybe, Model

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


class StringSchema(Model, kw_only=True, tag_field="type", tag="string"):
    """Text field; lengths in characters."""

    title: Maybe[str] = None
    description: Maybe[str] = None
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


class BooleanSchema(Model, kw_only=True, tag_field="type", tag="boolean"):
    """Yes-or-no field."""

    title: Maybe[str] = None
    description: Maybe[str] = None
    default: Maybe[bool] = None


class UntitledSingleSelectEnumSchema(Model, kw_only=True, tag_field="type", tag="string"):
    """Choice of one value."""

    title: Maybe[str] = None
    description: Maybe[str] = None
    enum: list[str]
    default: Maybe[str] = None


class TitledSingleSelectEnumSchema(Model, kw_only=True, tag_field="type", tag="string"):
    """Choice of one value, each shown with a title (since 2025-11-25)."""

    title: Maybe[str] = None
    description: Maybe[str] = None
    one_of: list[EnumOption]
    default: Maybe[str] = None


class UntitledMultiSelectEnumSchema(Model, kw_only=True, tag_field="type", tag="array"):
    """Choice of several values (since 2025-11-25)."""

    title: Maybe[str] = None
    description: Maybe[str] = None
    items: EnumItems
    min_items: Maybe[int] = None
    max_items: Maybe[int] = None
    default: Maybe[list[str]] = None


class TitledMultiSelectEnumSchema(UntitledMultiSelectEnumSchema, kw_only=True, tag="array"):
    """Choice of several values, each shown with a title (since 2025-11-25)."""


class LegacyTitledEnumSchema(Model, kw_only=True, tag_field="type", tag="string"):
    """Choice of one value, shown by ``enum_names``; not for new servers."""

    title: Maybe[str] = None
    description: Maybe[str] = None
    enum: list[str]
    enum_names: Maybe[list[str]] = None
    default: Maybe[str] = None
