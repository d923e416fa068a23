"""Methods beyond the features of a server: extension requests, client notifications.

Source: the "Notifications" section of basic/index, and "Extension Negotiation" of 2026-07-28.
"""

from collections.abc import Callable
from typing import Any

from msgspec import Raw
from msgspec.structs import astuple

from mcpcore.errors import InvalidValue, OutputMismatch
from mcpcore.service.content import json_value
from mcpcore.service.handlers import Handler, values_type
from mcpcore.service.prepared import Bound
from mcpcore.service.reading import arguments_reader
from mcpcore.service.schema import Validator
from mcpcore.spec.errors import INVALID_PARAMS, McpError
from mcpcore.spec.types.base import Result

_NO_OBJECT = "the result is no object"


class MethodEntry:
    """Function of a method; its parameters are members of ``params``, by their names.

    Members that it does not take are ignored, as the peer may know a newer version.
    """

    __slots__ = ("_values", "handler")

    def __init__(
        self,
        function: Callable[..., Any],
        method: str,
        *,
        thread: bool = False,
        validator: Validator | None = None,
    ) -> None:
        self.handler = handler = Handler(function, method, thread=thread)
        if handler.rest is not None:
            raise TypeError(f"{method}: **{handler.rest} cannot be filled: name the members")
        values = values_type(handler.parameters, strict=False)
        self._values = arguments_reader(values, handler.parameters, validator, method)

    def bind(self, params: Raw | bytes) -> tuple[Any, ...]:
        """Return the values for the handler.

        Raises McpError (-32602) naming the invalid member.
        """
        try:
            return astuple(self._values.read(params, "params"))
        except InvalidValue as error:
            raise McpError(INVALID_PARAMS, str(error)) from None


class MethodCall(Bound[MethodEntry]):
    """Request of an extension, bound to its function."""

    __slots__ = ()

    def finish(self, value: Any) -> Raw:
        """Shape the result: any value that is an object in JSON; None becomes an empty object."""
        if isinstance(value, Result):
            value = self.own(value)
        body = b"{}" if value is None else json_value(value)
        if not body.startswith(b"{"):
            raise OutputMismatch(f"expected an object, got {type(value).__name__}", _NO_OBJECT)
        return Raw(body)
