"""JSON Schema for schemas written by hand, and for those of others.

``compile_schema`` is that of the fastest library that is installed::

    Server(..., validator=compile_schema)

Needs one of two extras: ``pip install mcpcore[schema]`` or ``pip install mcpcore[schema-fast]``.
See docs/schemas.md.
"""

from transports.json_schema.limits import SchemaLimits

try:
    from transports.json_schema.fast import compile_schema
except ImportError:
    try:
        from transports.json_schema.portable import compile_schema
    except ImportError as error:
        raise ImportError(
            "validating JSON Schemas written by hand needs one of two extras: "
            "pip install mcpcore[schema] or mcpcore[schema-fast]"
        ) from error

__all__ = ["SchemaLimits", "compile_schema"]
