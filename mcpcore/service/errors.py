"""What a handler raises to tell the client what went wrong.

The message of a :class:`HandlerError` is shown; any other exception is masked, as its text may
hold what the client must not see.
"""

from mcpcore.spec.errors import INTERNAL_ERROR, INVALID_PARAMS, LocalError, McpError


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


class MaskedError(LocalError):
    """A failure of which the client is told the ``rule`` alone, if there is one.

    The message is for the log: it may hold what the client must not see.  ``rule`` is in words of
    our own.
    """

    def __init__(self, message: str, rule: str = "") -> None:
        super().__init__(message)
        self.rule = rule


class OutputMismatch(MaskedError):
    """A handler returned what cannot be sent; ``rule`` names what was broken."""


class HandlerExit(MaskedError):
    """A function ended with what is no :class:`Exception`, its cause: SystemExit, for instance."""

    def __init__(self, cause: BaseException) -> None:
        rule = "the handler tried to end the program" if isinstance(cause, SystemExit) else ""
        super().__init__(f"it ended with {type(cause).__name__}", rule)
        self.__cause__ = cause


class LifespanError(LocalError):
    """The lifespan of a server did not start, failed while it was needed, or failed at its end.

    The message is one sentence that names the function and, if there is one, what it raised.
    """


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


def is_masked(error: BaseException) -> bool:
    """Whether the client must not see this error, so that it should be logged here."""
    return not isinstance(error, McpError | HandlerError)


def shown(error: Exception, error_id: str | None = None, *, reveal: bool = False) -> str:
    """What the client may read of an exception: its message, the rule it names, or nothing.

    ``error_id`` goes along with what is masked, so that it can be found in a log.  ``reveal``:
    nothing is masked.
    """
    if not is_masked(error):
        return str(error)
    rule = _revealed(error) if reveal else error.rule if isinstance(error, MaskedError) else ""
    text = f"{MASKED}: {rule}" if rule else MASKED
    return text if error_id is None else f"{text} (error id {error_id})"


def _revealed(error: BaseException) -> str:
    """The types and messages of an exception, of each one that stands in a group."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(map(_revealed, error.exceptions))
    if isinstance(error, HandlerExit) and error.__cause__ is not None:
        return _revealed(error.__cause__)
    return f"{type(error).__name__}: {error}"
