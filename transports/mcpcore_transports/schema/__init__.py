"""JSON Schema validation, for schemas written by hand and for schemas of other programs.

``compile_schema`` is the validator of a server or a client::

    Server(..., validator=compile_schema)

Needs an extra, ``pip install 'mcpcore[schema]'``: the libraries ``jsonschema`` and ``google-re2``.
See docs/how-to/schemas.md.
"""

from mcpcore.errors import ExtraMissingError

try:
    import jsonschema as _jsonschema  # noqa: F401
    import re2 as _re2  # type: ignore[import-untyped] # noqa: F401
except ImportError as error:
    raise ExtraMissingError(
        "JSON Schemas written by hand need the extra `schema`: pip install 'mcpcore[schema]'"
    ) from error

from mcpcore_transports.schema.validation import SchemaLimits, compile_schema

__all__ = ["SchemaLimits", "compile_schema"]
