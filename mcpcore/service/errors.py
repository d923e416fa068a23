"""What a handler raises to tell the client what went wrong.

The message of a :class:`HandlerError` is shown; any other exception is masked, as its text may
hold what the client must not see.
"""

from mcpcore.spec.errors import INTERNAL_ERROR, INVALID_PARAMS, LocalError


class HandlerError(Exception):
    """Base of the exceptions whose message the client gets to see.

    ``code``: the error code where the failure is an error of the protocol, which it is everywhere
    but in tools.
    """

    code: int = INTERNAL_ERROR


class ToolError(HandlerError):
    """A tool failed: the client gets a result with ``isError`` and this message.

    >>> raise ToolError("There is no city of that name.")
    Traceback (most recent call last):
    mcpcore.service.errors.ToolError: There is no city of that name.
    """


class ResourceError(HandlerError):
    """A resource exists but could not be read."""


class ResourceNotFound(ResourceError):
    """There is no such resource; the code depends on the revision, ``data`` holds the URI."""

    def __init__(self, message: str = "Resource not found") -> None:
        super().__init__(message)


class PromptError(HandlerError):
    """A prompt could not be filled in with these arguments."""

    code = INVALID_PARAMS


class InvalidValue(ValueError):
    """A value does not fit its type or schema; the message names the field."""


class Misfit(ValueError):
    """A part of a value does not fit; each of ``problems``, ``path: what``, begins at the part."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class OutputMismatch(LocalError):
    """A handler returned what cannot be sent.

    The message, which may hold what it returned, is for the log alone; the client is told
    ``rule``, which names what was broken in words that are the same whatever was returned.
    """

    def __init__(self, message: str, rule: str) -> None:
        super().__init__(message)
        self.rule = rule


def schema_not_met(why: object) -> OutputMismatch:
    """The error for a result that its output schema does not allow."""
    rule = "the result does not meet the output schema"
    return OutputMismatch(f"the output schema is not met: {why}", rule)


class ValidatorMissing(LocalError):
    """There is something that only a validator of JSON Schemas can check, and no validator."""

    def __init__(self, what: str, has: str = "has a JSON Schema written by hand") -> None:
        super().__init__(
            f"{what} {has}, which needs a validator: "
            "pip install mcpcore[schema], then "
            "Server(..., validator=compile_schema) with "
            "`from transports.json_schema import compile_schema`"
        )


MASKED = "Internal error"
"""What the client is told of any other exception."""


def shown(error: Exception) -> str:
    """What the client may read of an exception: its message, the rule it names, or nothing."""
    if isinstance(error, HandlerError):
        return str(error)
    return f"{MASKED}: {error.rule}" if isinstance(error, OutputMismatch) else MASKED
