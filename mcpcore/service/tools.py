"""Tools: declared with their schemas, called with checked arguments; methods beyond the features.

Source: the tools page of each revision; for methods the "Notifications" section of basic/index, and
"Extension Negotiation" of 2026-07-28.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Self, get_args, get_origin

import msgspec
from msgspec import UNSET, Raw, UnsetType
from msgspec.structs import astuple

from mcpcore.errors import InvalidValue, OutputMismatch, ValidatorMissing
from mcpcore.service import declarations, reading
from mcpcore.service.content import blocks, for_revision, is_content, json_value
from mcpcore.service.custom_types import accept_custom, read_by_pydantic, read_custom, twin_of_class
from mcpcore.service.docstrings import parse_docstring
from mcpcore.service.handlers import Declaration, Handler, Prepared, is_masked, shown, values_type
from mcpcore.service.schema import Schema, Validator, input_schema, output_schema
from mcpcore.service.task_settings import TaskForm, TaskMode, support_of, task_form
from mcpcore.spec.errors import INVALID_PARAMS, McpError
from mcpcore.spec.json_schema import WRAPPED, header_params, is_object_schema, wrap_schema
from mcpcore.spec.members import known_members, unknown_members
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.base import META_APP, Result
from mcpcore.spec.types.content import ContentBlock, TextContent
from mcpcore.spec.types.tools import CallToolResult, Tool, ToolAnnotations, ToolExecution
from mcpcore.wire.jsontext import encodable, sayable, to_json

if TYPE_CHECKING:  # few tools have apps
    from mcpcore.service.apps import ToolApp

_encode = msgspec.json.Encoder(enc_hook=encodable).encode
_sorted = msgspec.json.Encoder(order="deterministic").encode
_NAME = re.compile(r"[A-Za-z0-9_./-]{1,128}")
_anything: msgspec.json.Decoder[dict[str, Any]] = msgspec.json.Decoder(dict[str, Any])


class ToolOptions(declarations.FeatureOptions, total=False):
    """Options of a tool."""

    app: "ToolApp | str"
    """Document that shows results, by its URI, ``ui://...``; clients that show none get a tool
    like any other."""
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
    Default: the server's.  Hosts are told by ``anthropic/maxResultSizeChars`` in ``_meta``, unless
    the tool has that."""
    shorten: Callable[[Any], Any]
    """Function that makes a smaller value of one whose result is beyond ``max_result``: a text that
    is cut, a page, a link to a resource.  It is called where the answer is made, and must not
    block.  Default: the call has failed, as it has if the second result is too large as well."""
    timeout: float | None
    """Seconds after which a call has failed, and its handler is cancelled; None (default): no
    limit.  For coroutine functions and with ``thread``; a thread runs on, and sees
    ``context.cancelled``."""
    task: TaskMode
    """Use of tasks: ``optional``, ``required``, or (default) ``forbidden``."""
    task_after: float | None
    """Extension: seconds until a call that has not ended becomes a task (default: at once); None:
    when the handler calls ``start_task`` of its context."""
    task_ttl: float | None
    """Seconds for which its tasks are kept from their creation; None: no limit."""
    task_poll: float
    """Seconds between two polls that clients are asked to leave."""


META_MAX_RESULT = "anthropic/maxResultSizeChars"
"""Key of a tool's ``_meta`` that hosts read: maximum characters of a result."""


def check_name(name: str) -> None:
    """Raise ValueError for a bad name of a tool (tools page, "Tool Names", with the slash)."""
    if not _NAME.fullmatch(name):
        raise ValueError("the name must be 1 to 128 characters out of A-Z a-z 0-9 _ . / -")


class ToolEntry(Declaration):
    """Tool that a function runs.  Raises TypeError, ValueError, ValidatorMissing."""

    def __init__(
        self,
        function: Callable[..., Any],
        name: str,
        validator: Validator | None,
        options: ToolOptions,
        *,
        max_result: int | None = None,
    ) -> None:
        check_name(name)
        declarations.check_options(options, ToolOptions)
        handler = Handler(function, thread=options.get("thread", False))
        requirement = declarations.requirement(options)
        super().__init__(handler, options.get("visible"), requirement, bare=True)
        doc = parse_docstring(handler.doc)
        self.max_result = options.get("max_result", max_result)
        if self.max_result is not None:
            declarations.check_count("max_result", self.max_result)
        self.timeout = options.get("timeout")
        if self.timeout is not None:
            if not self.timeout > 0:
                raise ValueError(f"timeout must be above 0, not {self.timeout}")
            if not (handler.is_async or handler.thread):
                raise ValueError("timeout is for coroutine functions, and others with thread=True")
        self._shorten = options.get("shorten")
        if self._shorten is not None and self.max_result is None:
            raise ValueError("shorten is for results beyond max_result, and there is none")
        self._problems: Callable[[Any], list[str]] | None = None
        self._known: frozenset[str] | None = None
        written = options.get("input_schema")
        arguments = values_type(handler.parameters, strict=written is None)
        self._arguments = reading.arguments_reader(arguments, handler.parameters, validator)
        if written is None:
            if handler.rest is not None:
                raise TypeError(f"**{handler.rest} has no schema; pass input_schema")
            schema = input_schema(arguments, handler.parameters, doc.parameters)
        else:
            schema = dict(written)
            if not is_object_schema(schema):
                raise ValueError('input_schema must say "type": "object"')
            self._problems = _compiled(schema, validator, "the input")
            if handler.rest is not None:
                self._known = handler.taken()
        self.output = _output(handler.returns, validator, options)
        self.task = support_of(
            options.get("task", "forbidden"),
            options.get("task_after", 0.0),
            options.get("task_ttl", UNSET),
            options.get("task_poll"),
        )
        self.header_params = header_params(schema)
        """Mirrored arguments: header part to property path."""
        self.tool = Tool(
            name=name,
            input_schema=schema,
            annotations=declarations.typed(options.get("annotations"), ToolAnnotations),
            **declarations.common_members(options, doc.description),
        )
        if options.get("max_result") is not None:
            self.tool.meta = {META_MAX_RESULT: self.max_result, **(self.tool.meta or {})}
        if (app := options.get("app")) is not None:
            from mcpcore.service.apps import ToolApp  # late: few tools have apps

            self.app = ToolApp(app) if isinstance(app, str) else app
            self.tool.meta = {**(self.tool.meta or {}), **self.app.meta()}

    def renamed(self, key: str, uri: Callable[[str], str]) -> Self:
        """Return a copy with another name, and with the URI of its user interface changed."""
        check_name(key)
        made, meta = super().renamed(key, uri), dict(self.tool.meta or {})
        ui = meta.get("ui")  # extension io.modelcontextprotocol/ui
        if isinstance(ui, Mapping) and isinstance(ui.get("resourceUri"), str):
            meta["ui"] = {**ui, "resourceUri": uri(ui["resourceUri"])}
        if isinstance(meta.get(META_APP), str):
            meta[META_APP] = uri(meta[META_APP])
        made.tool = msgspec.structs.replace(self.tool, name=key, meta=meta or None)
        return made

    def listed(self, revision: Revision, apps: bool = True) -> bool:
        """Return True if it can be called in a revision; a tool with required tasks needs tasks."""
        required = self.task is not None and self.task.required
        if self.app is not None and self.app.only and not (apps and _has_meta(revision)):
            return False
        return not required or task_form(revision) is not None

    def encode(self, revision: Revision, apps: bool = True) -> bytes:
        """Return the declaration as it is listed in a revision, with its app or without."""
        tool = self.tool
        if not apps and self.app is not None:
            own = self.app.meta()
            meta = {name: value for name, value in (tool.meta or {}).items() if name not in own}
            tool = msgspec.structs.replace(tool, meta=meta or None)
        if tool.title is not None and "title" in unknown_members(Tool, revision):
            tool = _titled_by_annotation(tool)
        tool = known_members(tool, revision)
        if self.output is not None and revision.structured_content:
            schema = self.output.schema_for(revision)
            tool = msgspec.structs.replace(tool, output_schema=schema)
        if self.task is not None and task_form(revision) is TaskForm.EXPERIMENTAL:
            execution = ToolExecution(task_support="required" if self.task.required else "optional")
            tool = msgspec.structs.replace(tool, execution=execution)
        return _encode(tool)

    def bind(self, arguments: bytes | Raw) -> tuple[Any, ...]:
        """Return the values for the handler.  Raises InvalidValue naming the argument."""
        tree = {}
        if self._problems is not None:
            tree = reading.read(_anything, arguments, "arguments")
            reading.refuse(self._problems(tree), "arguments")
        values = astuple(self._arguments.read(arguments, "arguments"))
        if self._known is None:
            return values
        fields = self._arguments.type.__struct_fields__
        rest = {name: value for name, value in tree.items() if name not in fields}
        for name in rest:
            if name in self._known:
                raise InvalidValue(f"arguments.{name}: the name is taken")
        return (*values, rest)

    def finish(self, value: Any, request: Prepared, *, shortened: bool = False) -> Raw:
        """Shape the return value, which may be a ``shortened`` one, into content."""
        if type(value) is not str and isinstance(value, CallToolResult):
            request.failed = value.is_error is True
            result = given_result(request.own(value), self.output, request.revision)
        else:
            result = tool_result(value, self.output, request.revision)
        if self.max_result is not None:
            meta = 0 if request.meta is None else len(to_json(request.meta))
            if problem := _too_large(self.max_result, len(result) + meta):
                if self._shorten is None or shortened:
                    raise OutputMismatch(problem, problem)
                request.failed, request.meta = False, None
                return self.finish(self._shorten(value), request, shortened=True)
        return result

    def failure(self, error: Exception, told: str | None, request: Prepared) -> Raw:
        """Return a result with ``isError``, whose message is cut if that is too large."""
        if isinstance(error, McpError):
            raise error
        text = told or shown(error)
        result, most = error_result(text), self.max_result
        if most is None or is_masked(error) or not (problem := _too_large(most, len(result))):
            return result
        note = f" ... ({problem})"
        fits = bisect_right(
            range(len(text)), most, key=lambda kept: len(error_result(f"{text[:kept]}{note}"))
        )
        return error_result(f"{text[: max(0, fits - 1)]}{note}")


def _has_meta(revision: Revision) -> bool:
    return "meta" not in unknown_members(Tool, revision)


def _titled_by_annotation(tool: Tool) -> Tool:
    """Move the title to the annotations, for revisions in which only these have one."""
    hints = tool.annotations or ToolAnnotations()
    if hints.title is None:
        hints = msgspec.structs.replace(hints, title=tool.title)
    return msgspec.structs.replace(tool, annotations=hints)


# Outputs


class Output:
    """Output schema of a tool; ``check`` takes the JSON of a value, and raises InvalidValue."""

    def __init__(
        self,
        schema: Schema,
        check: Callable[[bytes], object],
        encode: Callable[[Any], bytes] | None = None,
    ) -> None:
        self.schema = schema
        self.check = check
        self.encode = encode or self._encode
        """Function that returns the checked JSON of a value.  Raises OutputMismatch."""
        self._wrapped = schema if is_object_schema(schema) else wrap_schema(schema)

    @classmethod
    def derived(cls, type: Any, validator: Validator | None) -> "Output":
        """Create an output from a return type.  Raises TypeError if it has no schema."""
        twin = twin_of_class(type)
        schema = output_schema(twin or type)
        if twin is not None:
            type = twin
            encode = partial(_encode_attributes, twin)
        elif (foreign := read_by_pydantic(type)) is not None:
            return cls(schema, lambda value: foreign.read(value, WRAPPED), foreign.encode)
        else:
            encode = None
        reader: reading.ValueReader[Any] = reading.ValueReader(
            type, lambda: schema, validator, "the output", custom=accept_custom
        )
        return cls(schema, lambda value: reader.check(value, WRAPPED), encode)

    def _encode(self, value: Any) -> bytes:
        encoded = json_value(value)
        _check(encoded, self)
        return encoded

    def wraps(self, revision: Revision) -> bool:
        """Return True if values are wrapped in an object in this revision."""
        return not revision.any_structured_content and self._wrapped is not self.schema

    def schema_for(self, revision: Revision) -> Schema:
        """Return the schema as declared in this revision."""
        return self._wrapped if self.wraps(revision) else self.schema


def _encode_attributes(twin: Any, value: Any) -> bytes:
    try:
        return json_value(msgspec.convert(value, twin, from_attributes=True, dec_hook=read_custom))
    except msgspec.ValidationError as error:
        raise reading.schema_not_met(reading.explain(error, WRAPPED)) from None


def _compiled(
    schema: Mapping[str, Any], validator: Validator | None, what: str
) -> Callable[[Any], list[str]]:
    if validator is None:
        raise ValidatorMissing(what)
    return validator(schema)


def _output(returns: Any, validator: Validator | None, options: ToolOptions) -> Output | None:
    written, structured = options.get("output_schema"), options.get("structured_output")
    if written is not None:
        problems = _compiled(written, validator, "the output")
        return Output(
            dict(written),
            lambda value: reading.refuse(problems(reading.read_tree(value, WRAPPED)), WRAPPED),
        )
    if get_origin(returns) is Annotated and get_args(returns)[0] is CallToolResult:
        returns = next(
            (each for each in get_args(returns)[1:] if isinstance(each, type) or get_origin(each)),
            CallToolResult,
        )
    if structured is False or returns is CallToolResult:
        return None
    if structured is None and is_content(returns):
        return None
    return Output.derived(returns, validator)


def _too_large(most: int, size: int) -> str | None:
    fits = size <= most
    return None if fits else f"the result takes {size} bytes, and the tool may return {most}"


# Results


class _TextItem(msgspec.Struct, gc=False, tag_field="type", tag="text"):
    text: str


class _TextResult(msgspec.Struct, gc=False, rename="camel"):
    """Most frequent form of :class:`CallToolResult`; a Struct is encoded without a copy."""

    content: tuple[_TextItem]
    structured_content: Raw | UnsetType = UNSET
    is_error: bool | UnsetType = UNSET


def error_result(message: str) -> Raw:
    """Return the error of a tool: one text block and ``isError``."""
    return Raw(_encode(_TextResult((_TextItem(sayable(message)),), is_error=True)))


def tool_result(value: Any, output: Output | None, revision: Revision) -> Raw:
    """Shape the return value of a tool.  Raises OutputMismatch."""
    if output is not None:
        encoded = output.encode(value)
        text = value if isinstance(value, str) else encoded.decode()
        return _structured(text, encoded, output.wraps(revision), revision)
    if not isinstance(value, str):
        found = blocks(value)
        if found is not None:
            return Raw(to_json({"content": for_revision(found, revision)}))
        encoded = json_value(value)
        if revision.any_structured_content or encoded.startswith(b"{"):
            return _structured(encoded.decode(), encoded, False, revision)
        value = encoded.decode()  # no schema has promised structured content
    return Raw(_encode(_TextResult((_TextItem(value),))))


def _structured(text: str, encoded: bytes, wraps: bool, revision: Revision) -> Raw:
    structured: Raw | UnsetType = UNSET
    if revision.structured_content:
        structured = Raw(_wrap(encoded) if wraps else encoded)
    return Raw(_encode(_TextResult((_TextItem(text),), structured)))


def given_result(result: CallToolResult, output: Output | None, revision: Revision) -> Raw:
    """Check a result that the tool made itself; change it to fit the revision."""
    structured, is_structured = result.structured_content, result.is_structured
    result.structured_content = UNSET  # even where null would be written
    result.content = for_revision(result.content, revision)
    checked = None if result.is_error else output
    encoded = json_value(structured)
    if not is_structured:
        if checked is None:
            return Raw(to_json(result))
        try:
            checked.check(encoded)  # None means null if the schema allows that
        except InvalidValue:
            text = "structured_content is missing, which the output schema asks for"
            rule = "the result has no structured content, which the output schema asks for"
            raise OutputMismatch(text, rule) from None
    elif checked is not None:
        _check(encoded, checked)
    if not any(_says(block, encoded) for block in result.content):
        result.content = [*result.content, TextContent(text=encoded.decode())]
    if not revision.structured_content:
        return Raw(to_json(result))
    if output is not None and output.wraps(revision):
        encoded = _wrap(encoded)
    elif not revision.any_structured_content and not encoded.startswith(b"{"):
        return Raw(to_json(result))
    result.structured_content = Raw(encoded)
    return Raw(to_json(result))


def _says(block: ContentBlock, encoded: bytes) -> bool:
    """Return True if a block is the text of a JSON value, in any layout."""
    if not isinstance(block, TextContent):
        return False
    if block.text == encoded.decode():
        return True
    try:
        said, meant = msgspec.json.decode(block.text), msgspec.json.decode(encoded)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return False
    return _sorted(said) == _sorted(meant)


def _wrap(encoded: bytes) -> bytes:
    return f'{{"{WRAPPED}":'.encode() + encoded + b"}"


def _check(encoded: bytes, output: Output) -> None:
    try:
        output.check(encoded)
    except InvalidValue as error:
        raise reading.schema_not_met(error) from None


# Extension requests, client notifications


class MethodEntry(Declaration):
    """Method whose members of ``params`` are parameters of the function; others are ignored."""

    def __init__(
        self, function: Callable[..., Any], *, thread: bool, validator: Validator | None
    ) -> None:
        handler = Handler(function, thread=thread)
        super().__init__(handler)
        if handler.rest is not None:
            raise TypeError(f"**{handler.rest} cannot be filled: name the members")
        values = values_type(handler.parameters, strict=False)
        self._values = reading.arguments_reader(values, handler.parameters, validator)

    def bind(self, params: Raw | bytes) -> tuple[Any, ...]:
        """Return the values for the handler.  Raises McpError (-32602) naming the member."""
        try:
            return astuple(self._values.read(params, "params"))
        except InvalidValue as error:
            raise McpError(INVALID_PARAMS, str(error)) from None

    def finish(self, value: Any, request: Prepared) -> Raw:
        """Shape the result, an object in JSON; None becomes an empty one."""
        if isinstance(value, Result):
            value = request.own(value)
        body = b"{}" if value is None else json_value(value)
        if not body.startswith(b"{"):
            raise OutputMismatch(
                f"expected an object, got {type(value).__name__}", "the result is no object"
            )
        return Raw(body)
