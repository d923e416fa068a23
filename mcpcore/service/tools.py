"""Tools: declared with their schemas, called with checked arguments.

Source: the tools page of each revision.
"""

from bisect import bisect_right
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

import msgspec
from msgspec import UNSET, Raw
from msgspec.structs import astuple

from mcpcore.errors import InvalidValue, OutputMismatch
from mcpcore.service.content import is_content
from mcpcore.service.declarations import (
    Options,
    check_count,
    check_icons,
    check_options,
    check_tool_name,
    given,
    runs_in_thread,
    typed,
)
from mcpcore.service.docstrings import parse_docstring
from mcpcore.service.errors import is_masked, shown
from mcpcore.service.handlers import Handler, values_type
from mcpcore.service.outputs import (
    Output,
    compiled,
    error_result,
    given_result,
    text_result,
    tool_result,
)
from mcpcore.service.prepared import Bound
from mcpcore.service.reading import arguments_reader, refuse
from mcpcore.service.schema import Validator, input_schema, is_object_schema, read
from mcpcore.spec.errors import McpError
from mcpcore.spec.header_params import header_params
from mcpcore.spec.members import known_members, unknown_members
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.tools import CallToolResult, Tool, ToolAnnotations, ToolExecution
from mcpcore.wire.message import to_json

if TYPE_CHECKING:
    from mcpcore.service.task_views import TaskMode, TaskSupport

_encode = msgspec.json.Encoder().encode
_anything: msgspec.json.Decoder[dict[str, Any]] = msgspec.json.Decoder(dict[str, Any])


class ToolOptions(Options, total=False):
    """Options of a tool, beyond its name and its function."""

    description: str
    """Description; default: the docstring, without its parts on parameters and results."""
    annotations: ToolAnnotations | Mapping[str, Any]
    """Hints; a mapping has wire names: ``{"readOnlyHint": True}``."""
    input_schema: Mapping[str, Any]
    """JSON Schema in place of the derived one; needs a validator."""
    output_schema: Mapping[str, Any]
    """JSON Schema of the structured content; needs a validator."""
    structured_output: bool
    """True: derive an output schema even for a string; False: derive none."""
    max_result: int | None
    """Maximum bytes of an encoded result; a call that returns more has failed.  None: no limit.
    Default: the server's."""
    task: "TaskMode"
    """Use of tasks: ``optional``, ``required``, or (default) ``forbidden``."""
    task_after: float | None
    """Extension: seconds until a call that has not ended becomes a task (default: at once).

    None: when the handler calls ``start_task`` of its context.
    """
    task_ttl: float | None
    """Seconds for which its tasks are kept from their creation; None: no limit."""
    task_poll: float
    """Seconds between two polls that clients are asked to leave."""


class ToolEntry:
    """Declaration and handler of a tool.

    Raises TypeError or ValueError, naming the tool, for an invalid declaration, and
    ValidatorMissing for a schema written by hand without a validator.
    """

    __slots__ = (
        "_arguments",
        "_known",
        "_problems",
        "call",
        "call_type",
        "header_params",
        "is_async",
        "max_result",
        "output",
        "task",
        "thread",
        "tool",
        "visible",
    )

    def __init__(
        self,
        function: Callable[..., Any],
        name: str,
        validator: Validator | None,
        options: ToolOptions,
        *,
        max_result: int | None = None,
    ) -> None:
        what = f"tool {check_tool_name(name)!r}"
        check_options(options, ToolOptions, what)
        handler = Handler(function, what)
        doc = parse_docstring(handler.doc)
        self.is_async = handler.is_async
        self.thread = runs_in_thread(options, handler.is_async, what)
        self.visible = options.get("visible")
        self.call = handler.binder()
        """Function ``call(context, bound arguments)``."""
        self.call_type: type[Bound[ToolEntry]] = PlainCall if handler.context is None else ToolCall
        """Class of a call, made of this entry, bound arguments and a revision."""
        self.max_result = options.get("max_result", max_result)
        if self.max_result is not None:
            check_count(f"{what}: max_result", self.max_result)
            self.call_type = LimitedCall
        self._problems: Callable[[Any], list[str]] | None = None
        self._known: frozenset[str] | None = None
        written = options.get("input_schema")
        try:
            arguments = values_type(handler.parameters, strict=written is None)
            self._arguments = arguments_reader(
                arguments, handler.parameters, validator, f"the input of {what}"
            )
            if written is None:
                if handler.rest is not None:
                    raise TypeError(f"**{handler.rest} has no schema; pass input_schema")
                schema = input_schema(arguments, handler.parameters, doc.parameters)
            else:
                schema = dict(written)
                if not is_object_schema(schema):
                    raise ValueError('input_schema must say "type": "object"')
                self._problems = compiled(schema, validator, f"the input of {what}")
                if handler.rest is not None:
                    self._known = handler.taken()
            self.output = _output(handler, validator, what, options)
            self.task = _task_support(options)
            self.header_params = header_params(schema)
            """Mirrored arguments: header part to property path."""
            self.tool = Tool(
                name=name,
                title=given(options.get("title")),
                description=given(options.get("description") or doc.description),
                input_schema=schema,
                annotations=typed(options.get("annotations"), ToolAnnotations),
                icons=check_icons(options.get("icons")),
                meta=given(dict(options.get("meta", {}))),
            )
        except (TypeError, ValueError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"{what}: {error}") from error

    def listed(self, revision: Revision) -> bool:
        """Return True if it can be called in a revision; a tool with required tasks needs tasks."""
        if self.task is None or not self.task.required:
            return True
        from mcpcore.service.task_views import task_form

        return task_form(revision) is not None

    def encode(self, revision: Revision) -> bytes:
        """Return the declaration as it is listed in a revision."""
        tool = self.tool
        if tool.title is not None and "title" in unknown_members(Tool, revision):
            tool = _titled_by_annotation(tool)
        tool = known_members(tool, revision)
        if self.output is not None and revision.structured_content:
            schema = self.output.schema_for(revision)
            tool = msgspec.structs.replace(tool, output_schema=schema)
        if self.task is not None:
            from mcpcore.service.task_views import TaskForm, task_form

            if task_form(revision) is TaskForm.EXPERIMENTAL:
                required = self.task.required
                execution = ToolExecution(task_support="required" if required else "optional")
                tool = msgspec.structs.replace(tool, execution=execution)
        return _encode(tool)

    def bind(self, arguments: bytes | Raw) -> tuple[Any, ...]:
        """Check the arguments, a JSON object, and return the values for :attr:`call`.

        Raises :class:`InvalidValue` naming the field.
        """
        if self._problems is None:
            return astuple(self._arguments.read(arguments, "arguments"))
        tree = read(_anything, arguments, "arguments")
        refuse(self._problems(tree), "arguments")
        values = astuple(self._arguments.read(arguments, "arguments"))
        if self._known is None:
            return values
        return (*values, self._rest(tree))

    def _rest(self, tree: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments for ``**kwargs``."""
        fields = self._arguments.type.__struct_fields__
        rest = {name: value for name, value in tree.items() if name not in fields}
        for name in rest:
            if name in (self._known or ()):
                raise InvalidValue(f"arguments.{name}: the name is taken")
        return rest


def _titled_by_annotation(tool: Tool) -> Tool:
    """Move the title to the annotations, for revisions in which only these have one."""
    hints = tool.annotations or ToolAnnotations()
    if hints.title is None:
        hints = msgspec.structs.replace(hints, title=tool.title)
    return msgspec.structs.replace(tool, annotations=hints)


def _task_support(options: ToolOptions) -> "TaskSupport | None":
    mode = options.get("task", "forbidden")
    if mode == "forbidden":
        return None
    from mcpcore.service.task_views import support_of  # here and not above: few tools have tasks

    return support_of(
        mode,
        options.get("task_after", 0.0),
        options.get("task_ttl", UNSET),
        options.get("task_poll"),
    )


def _output(
    handler: Handler, validator: Validator | None, what: str, options: ToolOptions
) -> Output | None:
    written, structured = options.get("output_schema"), options.get("structured_output")
    if written is not None:
        return Output.written(dict(written), validator, f"the output of {what}")
    returns: Any = handler.returns
    if get_origin(returns) is Annotated and get_args(returns)[0] is CallToolResult:
        returns = next(filter(_is_type, get_args(returns)[1:]), CallToolResult)
    if structured is False or returns is CallToolResult:
        return None
    if structured is None and is_content(returns):
        return None
    return Output.derived(returns, validator, f"the output of {what}")


def _is_type(extra: Any) -> bool:
    return isinstance(extra, type) or get_origin(extra) is not None


def _finish(self: Bound[ToolEntry], value: Any) -> Raw:
    """Shape the return value into content and structured content."""
    if type(value) is str and self._entry.output is None:  # the most frequent case
        return text_result(value)
    if isinstance(value, CallToolResult):
        self.failed = value.is_error is True
        return given_result(self.own(value), self._entry.output, self.revision)
    return tool_result(value, self._entry.output, self.revision)


def _failure(self: Bound[ToolEntry], error: Exception, told: str | None = None) -> Raw:
    """Return a result with ``isError``; only an McpError is an error of the protocol."""
    if isinstance(error, McpError):
        raise error
    return error_result(told or shown(error))


class ToolCall(Bound[ToolEntry]):
    """Call of a tool with checked arguments."""

    __slots__ = ()

    bare = True
    finish = _finish
    failure = _failure


class PlainCall(Bound[ToolEntry]):
    """Call of a tool that takes no context."""

    __slots__ = ()

    bare = True
    takes_context = False
    finish = _finish
    failure = _failure


class LimitedCall(Bound[ToolEntry]):
    """Call of a tool whose results have a limit."""

    __slots__ = ()

    bare = True

    def finish(self, value: Any) -> Raw:
        """Shape the return value; raise OutputMismatch if the result is too large."""
        result = _finish(self, value)
        problem = self._problem(len(result) + (0 if self.meta is None else len(to_json(self.meta))))
        if problem is not None:
            raise OutputMismatch(problem, problem)
        return result

    def failure(self, error: Exception, told: str | None = None) -> Raw:
        """Return a result with ``isError``; a message that would make it too large is cut."""
        result = _failure(self, error, told)
        if is_masked(error) or (problem := self._problem(len(result))) is None:
            return result
        text, note = told or shown(error), f" ... ({problem})"
        fits = bisect_right(
            range(len(text)),
            self._entry.max_result or 0,
            key=lambda kept: len(error_result(f"{text[:kept]}{note}")),
        )
        return error_result(f"{text[: max(0, fits - 1)]}{note}")

    def _problem(self, size: int) -> str | None:
        most = self._entry.max_result
        if most is None or size <= most:
            return None
        return f"the result takes {size} bytes, and the tool may return {most}"
