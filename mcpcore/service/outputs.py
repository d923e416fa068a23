"""Results of tools: content, structured content, errors.

A tool whose return type is data has an output schema, and its results are checked against it.
Structured content is an object up to 2025-11-25 and any JSON value since.  In revisions with
objects only, both the schema and the value of another type are wrapped as ``{"result": ...}``, so
that they agree in every revision.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct

from mcpcore.errors import InvalidValue, OutputMismatch, ValidatorMissing
from mcpcore.service.content import blocks, for_revision, json_value
from mcpcore.service.custom_types import (
    accept_custom,
    read_by_pydantic,
    read_custom,
    twin_of_class,
)
from mcpcore.service.errors import schema_not_met
from mcpcore.service.reading import Reader, refuse
from mcpcore.service.schema import (
    WRAPPED,
    Schema,
    Validator,
    explain,
    is_object_schema,
    output_schema,
    read_tree,
    wrap_schema,
)
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.content import ContentBlock, TextContent
from mcpcore.spec.types.tools import CallToolResult
from mcpcore.wire.jsontext import encodable, sayable
from mcpcore.wire.message import to_json

_encode = msgspec.json.Encoder(enc_hook=encodable).encode
_sorted = msgspec.json.Encoder(order="deterministic").encode


class Output:
    """Output schema of a tool, and the check that goes with it.

    ``check`` takes the JSON of a value; it raises :class:`InvalidValue` naming the field.
    """

    __slots__ = ("_wrapped", "check", "encode", "schema")

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
    def derived(cls, type: Any, validator: Validator | None, what: str) -> "Output":
        """Create an output from a return type.

        Raises TypeError if it has no schema, ValidatorMissing and ValueError as
        :class:`~mcpcore.service.reading.Reader` does.
        """
        twin = twin_of_class(type)
        schema = output_schema(twin or type)
        if twin is not None:
            type = twin
            encode = partial(_encode_attributes, twin)
        elif (foreign := read_by_pydantic(type)) is not None:
            return cls(schema, lambda value: foreign.read(value, WRAPPED), foreign.encode)
        else:
            encode = None
        reader: Reader[Any] = Reader(type, lambda: schema, validator, what, accept_custom)
        return cls(schema, lambda value: reader.check(value, WRAPPED), encode)

    @classmethod
    def written(cls, schema: Schema, validator: Validator | None, what: str) -> "Output":
        """Create an output from a JSON Schema.

        Raises ValidatorMissing, or ValueError if the schema is not valid.
        """
        problems = compiled(schema, validator, what)

        def check(value: bytes) -> None:
            refuse(problems(read_tree(value, WRAPPED)), WRAPPED)

        return cls(schema, check)

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
        raise schema_not_met(explain(error, WRAPPED)) from None


def compiled(
    schema: Mapping[str, Any], validator: Validator | None, what: str
) -> Callable[[Any], list[str]]:
    """Compile a schema written by hand; ``what`` names its owner in messages.

    Raises ValidatorMissing without a validator, ValueError if the schema is not valid.
    """
    if validator is None:
        raise ValidatorMissing(what)
    return validator(schema)


# Results


class _Text(Struct, gc=False, tag_field="type", tag="text"):
    text: str


class _Texts(Struct, gc=False):
    """The most frequent result, as a Struct, which is encoded faster than a dict."""

    content: tuple[_Text]


def text_result(text: str) -> Raw:
    """Return a result with one text block."""
    return Raw(_encode(_Texts((_Text(text),))))


def error_result(message: str) -> Raw:
    """Return the error of a tool: one text block and ``isError``."""
    text = _encode(sayable(message))
    return Raw(b'{"content":[{"type":"text","text":' + text + b'}],"isError":true}')


def tool_result(value: Any, output: Output | None, revision: Revision) -> Raw:
    """Shape the return value of a tool.

    Raises :class:`OutputMismatch` if it breaks the tool's declaration or has no JSON form.
    """
    if output is not None:
        encoded = output.encode(value)
        text = value if isinstance(value, str) else encoded.decode()
        return _structured(text, encoded, output.wraps(revision), revision)
    if isinstance(value, str):
        return text_result(value)
    found = blocks(value)
    if found is not None:
        return Raw(to_json({"content": for_revision(found, revision)}))
    encoded = json_value(value)
    if not revision.any_structured_content and not encoded.startswith(b"{"):
        return text_result(encoded.decode())  # no schema has promised structured content
    return _structured(encoded.decode(), encoded, False, revision)


def _structured(text: str, encoded: bytes, wraps: bool, revision: Revision) -> Raw:
    if not revision.structured_content:
        return text_result(text)
    if wraps:
        encoded = _wrap(encoded)
    return Raw(
        b'{"content":[{"type":"text","text":'
        + _encode(text)
        + b'}],"structuredContent":'
        + encoded
        + b"}"
    )


def given_result(result: CallToolResult, output: Output | None, revision: Revision) -> Raw:
    """Check a result that the tool made itself, and fit it to the revision (``result`` changes).

    Structured content must also be present as a text block, which is added if missing.
    """
    structured, is_structured = result.structured_content, result.is_structured
    result.structured_content = UNSET  # even where null would be written
    result.content = for_revision(result.content, revision)
    checked = None if result.is_error else output
    encoded = json_value(structured)
    if not is_structured:
        if checked is None:
            return Raw(to_json(result))
        if not _allows(checked, encoded):  # None means null if the schema allows that
            text = "structured_content is missing, which the output schema asks for"
            rule = "the result has no structured content, which the output schema asks for"
            raise OutputMismatch(text, rule)
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


def _allows(output: Output, encoded: bytes) -> bool:
    try:
        output.check(encoded)
    except InvalidValue:
        return False
    return True


def _check(encoded: bytes, output: Output) -> None:
    try:
        output.check(encoded)
    except InvalidValue as error:
        raise schema_not_met(error) from None
