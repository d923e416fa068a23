"""Exceptions of handlers, and the parts of them that a client sees.

The message of a :class:`HandlerError` is shown. Any other exception is masked, as its text may hold
secrets.
"""

from mcpcore.spec.errors import INTERNAL_ERROR, INVALID_PARAMS, LocalError, McpError


class HandlerError(Exception):
    """Base of the exceptions whose message the client sees.

    ``code``: error code of the JSON-RPC error, which the failure becomes everywhere but in tools.
    """

    code: int = INTERNAL_ERROR


class ToolError(HandlerError):
    """Failure of a tool: the client gets a result with ``isError`` and this message.

    >>> raise ToolError("There is no city of that name.")
    Traceback (most recent call last):
    mcpcore.service.errors.ToolError: There is no city of that name.
    """


class ResourceError(HandlerError):
    """Failure to read an existing resource."""


class ResourceNotFound(ResourceError):
    """Missing resource; the code depends on the revision, ``data`` holds the URI."""

    def __init__(self, message: str = "Resource not found") -> None:
        super().__init__(message)


class PromptError(HandlerError):
    """Failure to fill in a prompt with the given arguments."""

    code = INVALID_PARAMS


class InvalidValue(ValueError):
    """Value that does not fit its type or schema; the message names the field."""


class Misfit(ValueError):
    """Part of a value that does not fit; each of ``problems``, ``path: text``, is below it."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class MaskedError(LocalError):
    """Failure of which the client sees only the ``rule``, if there is one.

    The message is for the log: it may hold secrets.  ``rule`` holds fixed words of this library.
    """

    def __init__(self, message: str, rule: str = "") -> None:
        super().__init__(message)
        self.rule = rule


class OutputMismatch(MaskedError):
    """Result of a handler that cannot be sent; ``rule`` names the broken rule."""


class HandlerExit(MaskedError):
    """Handler that ended with an exception that is no :class:`Exception`, such as SystemExit."""

    def __init__(self, cause: BaseException) -> None:
        rule = "the handler tried to end the program" if isinstance(cause, SystemExit) else ""
        super().__init__(f"it ended with {type(cause).__name__}", rule)
        self.__cause__ = cause


class LifespanError(LocalError):
    """Failure of a server's lifespan: at its start, while it was needed, or at its end.

    The message is one sentence that names the function and, if there is one, the exception raised.
    """


def schema_not_met(why: object) -> OutputMismatch:
    """Return the error for a result that its output schema does not allow."""
    rule = "the result does not meet the output schema"
    return OutputMismatch(f"the output schema is not met: {why}", rule)


class ValidatorMissing(LocalError):
    """Use of a feature that needs a validator of JSON Schemas, without one."""

    def __init__(self, what: str, has: str = "has a JSON Schema written by hand") -> None:
        super().__init__(
            f"{what} {has}, which needs a validator: "
            "pip install mcpcore[schema], then "
            "Server(..., validator=compile_schema) with "
            "`from mcpcore_transports.schema import compile_schema`"
        )


MASKED = "Internal error"
"""Text that the client gets for any other exception."""


def is_masked(error: BaseException) -> bool:
    """Return True if the client must not see this error, so that it should be logged here."""
    return not isinstance(error, McpError | HandlerError)


def shown(error: Exception, error_id: str | None = None, *, reveal: bool = False) -> str:
    """Return the text of an exception for the client: its message, its rule, or neither.

    ``error_id`` is added to masked text, so that the error can be found in a log.  ``reveal``: True
    to mask nothing.
    """
    if not is_masked(error):
        return str(error)
    rule = _revealed(error) if reveal else error.rule if isinstance(error, MaskedError) else ""
    text = f"{MASKED}: {rule}" if rule else MASKED
    return text if error_id is None else f"{text} (error id {error_id})"


def _revealed(error: BaseException) -> str:
    """Return the types and messages of an exception, or of all exceptions in a group."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(map(_revealed, error.exceptions))
    if isinstance(error, HandlerExit) and error.__cause__ is not None:
        return _revealed(error.__cause__)
    return f"{type(error).__name__}: {error}"
