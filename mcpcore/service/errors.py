"""Exceptions of handlers, and the parts of them that a client sees.

The message of a :class:`HandlerError` is shown. Any other exception is masked, as its text may hold
secrets.
"""

from mcpcore.errors import HandlerError, HandlerExit, MaskedError, OutputMismatch
from mcpcore.spec.errors import McpError


class Misfit(ValueError):
    """Part of a value that does not fit; each of ``problems``, ``path: text``, is below it."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def schema_not_met(why: object) -> OutputMismatch:
    """Return the error for a result that its output schema does not allow."""
    rule = "the result does not meet the output schema"
    return OutputMismatch(f"the output schema is not met: {why}", rule)


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
