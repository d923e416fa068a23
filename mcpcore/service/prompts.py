"""Prompts: declared with their arguments, filled in to messages; completion of arguments.

Source: the prompts and completion pages of each revision.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, Self

import msgspec
from msgspec import Raw

from mcpcore.errors import InvalidValue, OutputMismatch
from mcpcore.service import declarations
from mcpcore.service.content import block, for_revision
from mcpcore.service.handlers import Declaration, Handler, Prepared
from mcpcore.service.reading import StringHandler
from mcpcore.service.schema import Validator
from mcpcore.spec.errors import INVALID_PARAMS, McpError
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.prompts import (
    CompleteParams,
    CompleteResult,
    Completion,
    GetPromptResult,
    Prompt,
    PromptArgument,
    PromptMessage,
)
from mcpcore.wire.jsontext import to_json

MAX_VALUES = 100
"""Maximum values in one completion result."""
_COUNTED = 10_000
"""Maximum further proposals that are counted; with more the total is left open."""
_NO_PROPOSALS = "the result is no list of strings"


def user(content: Any) -> PromptMessage:
    """Return a message of the user: a string, a content block, or a helper such as ``Image``.

    >>> user("Hello").content.text
    'Hello'
    """
    return PromptMessage(role="user", content=block(content))


def assistant(content: Any) -> PromptMessage:
    """Return a message of the assistant; ``content`` as for :func:`user`."""
    return PromptMessage(role="assistant", content=block(content))


class PromptEntry(Declaration):
    """Prompt that a function fills in."""

    def __init__(
        self,
        function: Callable[..., Any],
        name: str,
        options: declarations.FeatureOptions,
        validator: Validator | None = None,
    ) -> None:
        declarations.check_options(options, declarations.FeatureOptions)
        handler = StringHandler(function, validator, thread=options.get("thread", False))
        super().__init__(handler, options.get("visible"), declarations.requirement(options))
        self._bind = handler.bind
        arguments = [
            PromptArgument(
                name=parameter.name,
                title=handler.properties[parameter.name].get("title") or None,
                description=handler.properties[parameter.name].get("description") or None,
                required=parameter.required,
            )
            for parameter in handler.parameters
        ]
        common = declarations.common_members(options, handler.description)
        self.declared: Prompt = Prompt(name=name, arguments=arguments, **common)

    def renamed(self, key: str, uri: Callable[[str], str]) -> Self:
        """Return a copy with another name."""
        made = super().renamed(key, uri)
        made.declared = msgspec.structs.replace(self.declared, name=key)
        return made

    @property
    def arguments(self) -> tuple[str, ...]:
        """Names of the arguments."""
        return tuple(parameter.name for parameter in self.handler.parameters)

    def bind(self, arguments: Mapping[str, str]) -> tuple[Any, ...]:
        """Return the values for the handler.  Raises McpError (-32602) naming the argument."""
        try:
            return self._bind(arguments, "arguments")
        except InvalidValue as error:
            raise McpError(INVALID_PARAMS, str(error)) from None

    def finish(self, value: Any, request: Prepared) -> Raw:
        """Shape strings, content and messages into the result."""
        if isinstance(value, GetPromptResult):
            result = request.own(value)
            result.messages = _fitted(value.messages, request.revision)
        else:
            items = value if isinstance(value, list | tuple) else [value]
            result = GetPromptResult(
                description=self.declared.description,
                messages=_fitted(map(_message, items), request.revision),
            )
        return Raw(to_json(result))


def _fitted(messages: Iterable[PromptMessage], revision: Revision) -> list[PromptMessage]:
    return [
        msgspec.structs.replace(each, content=for_revision([each.content], revision)[0])
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


# Completion


class CompletionEntry(Declaration):
    """Function that completes arguments; see :meth:`mcpcore.service.Server.completion`.

    ``owned``: False for the function that completes arguments without a function of their own.
    """

    def __init__(
        self, function: Callable[..., Any], *, thread: bool = False, owned: bool = True
    ) -> None:
        handler = Handler(function, thread=thread)
        super().__init__(handler)
        names = [parameter.name for parameter in handler.parameters]
        if owned and (not names or handler.rest is not None):
            raise TypeError("the function must take the text typed so far, no **kwargs")
        known = ("argument", "arguments") if owned else ("ref", "argument", "context")
        for name in names[owned:]:
            if name not in known:
                text = ("the text, then " if owned else "") + ", ".join(map(repr, known))
                raise TypeError(f"parameter {name!r}: only {text} can be filled")
        self._names = tuple(names)
        self._owned = owned

    def bind(self, asked: CompleteParams) -> tuple[Any, ...]:
        """Return the values for the handler."""
        context = asked.context or None
        if not self._owned:
            members = {"ref": asked.ref, "argument": asked.argument, "context": context}
            return tuple(members[name] for name in self._names)
        others = {
            "argument": asked.argument.name,
            "arguments": dict(context.arguments or {}) if context else {},
        }
        return (asked.argument.value, *(others[name] for name in self._names[1:]))

    def finish(self, value: Any, request: Prepared) -> Raw:
        """Shape proposals into the result: the first 100, and whether there are more."""
        if isinstance(value, CompleteResult):
            value = request.own(value).completion
        return complete_result(value)


def complete_result(value: Any) -> Raw:
    """Shape proposals: None, an iterable of strings, or a Completion."""
    if value is None:
        value = ()
    if isinstance(value, Completion):
        completion = value
        if len(value.values) > MAX_VALUES:
            values = value.values[:MAX_VALUES]
            completion = Completion(values=values, total=value.total, has_more=True)
    elif isinstance(value, str) or not isinstance(value, Iterable):
        raise OutputMismatch(f"expected a list, got {type(value).__name__}", _NO_PROPOSALS)
    else:
        rest = iter(value)
        values = list(islice(rest, MAX_VALUES))
        more = sum(1 for _ in islice(rest, _COUNTED))
        total = len(values) + more if more < _COUNTED else None
        completion = Completion(values=values, total=total, has_more=more > 0)
    for each in completion.values:
        if not isinstance(each, str):
            raise OutputMismatch(f"expected strings, got {type(each).__name__}", _NO_PROPOSALS)
    return Raw(to_json(CompleteResult(completion=completion)))
