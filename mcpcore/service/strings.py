"""Handlers whose values arrive as strings: prompts and resource templates.

Parameters may have any type that a string can represent: text, numbers, booleans, dates, choices.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from msgspec.structs import astuple

from mcpcore.service.docstrings import parse_docstring
from mcpcore.service.handlers import Handler, Parameter, values_type
from mcpcore.service.reading import arguments_reader
from mcpcore.service.schema import Schema, Validator, input_schema

_SCALARS = {"string", "integer", "number", "boolean", "null"}


class StringHandler:
    """Handler, and the conversion of strings to the types of its parameters.

    ``paths``: names of parameters whose strings are paths; they may be lists, of the segments.
    Raises TypeError for a parameter that no string can fill, ValidatorMissing and ValueError as
    :class:`~mcpcore.service.reading.Reader` does.
    """

    __slots__ = ("_lists", "_values", "call", "description", "handler", "properties")

    def __init__(
        self,
        function: Callable[..., Any],
        what: str,
        validator: Validator | None = None,
        paths: Collection[str] = (),
    ) -> None:
        self.handler = Handler(function, what)
        if self.handler.rest is not None:
            raise TypeError(f"{what}: **{self.handler.rest} cannot be filled from named values")
        parameters = self.handler.parameters
        type = values_type(parameters, text=True)
        self.call = self.handler.binder()
        """Function ``call(context, bound values)``."""
        doc = parse_docstring(self.handler.doc)
        self.description = doc.description
        try:
            schema = input_schema(type, parameters, doc.parameters)
            self._values = arguments_reader(type, parameters, validator, what)
        except (TypeError, ValueError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"{what}: {error}") from None
        self.properties: dict[str, Schema] = schema["properties"]
        """Schema of each parameter, from its type and the docstring."""
        self._lists: list[Parameter] = []
        definitions = schema.get("$defs", {})
        for parameter in parameters:
            rules = self.properties[parameter.name]
            if parameter.name in paths and parameter.foreign is None and "items" in rules:
                self._lists.append(parameter)
                rules = rules["items"]
            if not _is_scalar(rules, definitions):
                raise TypeError(
                    f"{what}: parameter {parameter.name!r} cannot be made from a string"
                )

    def bind(self, values: Mapping[str, str], root: str) -> tuple[Any, ...]:
        """Convert the values.  Raises :class:`InvalidValue` naming the one that does not fit."""
        given: dict[str, Any] = dict(values)
        for parameter in self._lists:
            if parameter.name in given:
                given[parameter.name] = given[parameter.name].split("/")
            elif parameter.required:
                given[parameter.name] = []
        return astuple(self._values.convert(given, root))


def _is_scalar(rules: Schema, definitions: Schema) -> bool:
    if "$ref" in rules:
        rules = definitions[rules["$ref"].removeprefix("#/$defs/")]
    if "anyOf" in rules:
        return all(_is_scalar(branch, definitions) for branch in rules["anyOf"])
    return rules.get("type", "string") in _SCALARS
