"""Prompts: declared with their arguments, filled in to messages.

Source: the prompts page of each revision.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from mcpcore.errors import InvalidValue, OutputMismatch
from mcpcore.service.content import block, for_revision
from mcpcore.service.declarations import FeatureOptions, check_options, common_members, given
from mcpcore.service.prepared import Bound
from mcpcore.service.reading import StringHandler
from mcpcore.service.schema import Validator
from mcpcore.spec.errors import INVALID_PARAMS, McpError
from mcpcore.spec.members import known_members
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.prompts import GetPromptResult, Prompt, PromptArgument, PromptMessage
from mcpcore.wire.message import to_json

_encode = msgspec.json.Encoder().encode


def user(content: Any) -> PromptMessage:
    """Return a message of the user: a string, a content block, or a helper such as ``Image``.

    >>> user("Hello").content.text
    'Hello'
    """
    return PromptMessage(role="user", content=block(content))


def assistant(content: Any) -> PromptMessage:
    """Return a message of the assistant; ``content`` as for :func:`user`."""
    return PromptMessage(role="assistant", content=block(content))


class PromptEntry:
    """Declaration and handler of a prompt."""

    __slots__ = ("handler", "prompt", "visible")

    def __init__(
        self,
        function: Callable[..., Any],
        name: str,
        options: FeatureOptions,
        validator: Validator | None = None,
    ) -> None:
        what = f"prompt {name!r}"
        check_options(options, FeatureOptions, what)
        thread = options.get("thread", False)
        self.handler = StringHandler(function, what, validator, thread=thread)
        self.visible = options.get("visible")
        properties = self.handler.properties
        arguments = [
            PromptArgument(
                name=parameter.name,
                title=given(properties[parameter.name].get("title")),
                description=given(properties[parameter.name].get("description")),
                required=parameter.required,
            )
            for parameter in self.handler.parameters
        ]
        try:
            common = common_members(options, self.handler.description)
        except ValueError as error:
            raise ValueError(f"{what}: {error}") from None
        self.prompt = Prompt(name=name, arguments=arguments, **common)

    @property
    def arguments(self) -> tuple[str, ...]:
        """Names of the arguments."""
        return tuple(parameter.name for parameter in self.handler.parameters)

    def encode(self, revision: Revision) -> bytes:
        """Return the declaration in its listed form."""
        return _encode(known_members(self.prompt, revision))

    def bind(self, arguments: Mapping[str, str]) -> tuple[Any, ...]:
        """Check the arguments.  Raises McpError (-32602) naming the invalid one."""
        try:
            return self.handler.bind(arguments, "arguments")
        except InvalidValue as error:
            raise McpError(INVALID_PARAMS, str(error)) from None


class PromptGet(Bound[PromptEntry]):
    """Request for one filled-in prompt."""

    __slots__ = ()

    def finish(self, value: Any) -> Raw:
        """Shape strings, content and messages into the result."""
        if isinstance(value, GetPromptResult):
            result = self.own(value)
            result.messages = self._fitted(value.messages)
        else:
            items = value if isinstance(value, list | tuple) else [value]
            result = GetPromptResult(
                description=self._entry.prompt.description,
                messages=self._fitted(list(map(_message, items))),
            )
        return Raw(to_json(result))

    def _fitted(self, messages: list[PromptMessage]) -> list[PromptMessage]:
        return [
            msgspec.structs.replace(each, content=for_revision([each.content], self.revision)[0])
            for each in messages
        ]


def _message(item: Any) -> PromptMessage:
    if isinstance(item, PromptMessage):
        return item
    if isinstance(item, Mapping) and "role" in item:
        if isinstance(text := item.get("content"), str):
            item = {**item, "content": {"type": "text", "text": text}}
        try:
            return msgspec.convert(item, PromptMessage)
        except msgspec.ValidationError as error:
            rule = "the result has a message that is malformed"
            raise OutputMismatch(f"a message is wrong: {error}", rule) from None
    return user(item)
