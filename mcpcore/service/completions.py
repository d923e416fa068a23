"""Completion: proposals for the arguments of prompts and the variables of templates.

Source: completion page of each revision.
"""

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

from msgspec import Raw

from mcpcore.errors import OutputMismatch
from mcpcore.service.handlers import Handler
from mcpcore.service.prepared import Bound
from mcpcore.spec.types.completion import CompleteParams, CompleteResult, Completion
from mcpcore.wire.message import to_json

MAX_VALUES = 100
"""Maximum values in one result."""

_COUNTED = 10_000
"""Maximum further proposals that are counted; with more the total is left open."""

_NO_PROPOSALS = "the result is no list of strings"


class CompletionEntry:
    """Function that completes one argument, or without a name any argument of its owner.

    The owner is a prompt or a template. The function takes the text typed so far as its first
    parameter and, if it has parameters of these names, ``argument`` (the name of the completed
    argument) and ``arguments`` (a dict of the values known already). The context is injected as in
    all handlers.

    ``owned``: False for the function that completes arguments without a function of their own.  Its
    parameters are the members of the request: ``ref``, ``argument``, and ``context`` or None.
    """

    __slots__ = ("_names", "_owned", "handler")

    def __init__(
        self, function: Callable[..., Any], what: str, *, thread: bool = False, owned: bool = True
    ) -> None:
        self.handler = handler = Handler(function, what, thread=thread)
        names = [parameter.name for parameter in handler.parameters]
        if owned and (not names or handler.rest is not None):
            raise TypeError(f"{what}: the function must take the text typed so far, no **kwargs")
        known = ("argument", "arguments") if owned else ("ref", "argument", "context")
        for name in names[owned:]:
            if name not in known:
                first = "the text, then " if owned else ""
                raise TypeError(
                    f"{what}: parameter {name!r}: only {first}{', '.join(map(repr, known))} can be "
                    "filled"
                )
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


class CompletionCall(Bound[CompletionEntry]):
    """Completion request, bound to its function."""

    __slots__ = ()

    def finish(self, value: Any) -> Raw:
        """Shape proposals into the result: the first 100, and whether there are more."""
        if isinstance(value, CompleteResult):
            value = self.own(value).completion
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
