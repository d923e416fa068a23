"""Exceptions that end a dialogue early, and what it finds besides."""

from typing import Never

ERROR, NOISE = "error", "noise"
"""The flaws of an error whose form is wrong, and of a line of a process that is no JSON."""
END_OF_INPUT, TERMINATED = "end of input", "SIGTERM"
"""The flaws of a process that goes on at the end of its input, or after SIGTERM."""
MIRROR = "x-mcp-header"
"""The flaw of a tool that wants an argument mirrored into a header that there cannot be."""
MESSAGE, ID, BATCH, ARRAY = "message", "id", "batch", "array"
"""The flaws of a client that sends a broken message, a request with a broken id, or a batch where
there are none: over HTTP, and one message to a line."""
MISMADE = frozenset({MESSAGE, ID, BATCH, ARRAY})
"""Flaws of messages whose meaning can still be seen."""


class Ended(Exception):
    """A dialogue is over; the text says why."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class Broken(Ended):
    """The clause is broken: failed, or weak if it is a SHOULD, informational if it is a MAY.

    ``flaw``: what is wrong is the form of an answer to this method, or (``ERROR``) of an error,
    or (``NOISE``, ``MESSAGE``) that of a line or a message, or how a process ends; every case that
    sees it comes upon it.
    """

    def __init__(self, detail: str, flaw: str = "") -> None:
        super().__init__(detail)
        self.flaw = flaw


class NotApplicable(Ended):
    """The program does not have what the clause is about."""


class Inconclusive(Ended):
    """End of a dialogue that cannot find out if the clause holds."""


class Slow(Inconclusive):
    """End of a dialogue whose request takes longer than an answer may: its outcome is unknown."""


class Findings:
    """What a dialogue finds besides what ends it."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.weaknesses: list[str] = []

    def note(self, text: str) -> None:
        """Say something worth knowing that decides nothing."""
        self.notes.append(text)

    def should(self, condition: object, detail: str) -> None:
        """Check a SHOULD inside a MUST case: the case goes on, and is weak at best."""
        if not condition:
            self.weaknesses.append(detail)

    def skip(self, reason: str) -> Never:
        """End the case: the program does not have what it is about."""
        raise NotApplicable(reason)


def check(condition: object, detail: str, flaw: str = "") -> None:
    """Go on only if ``condition`` holds; otherwise the clause is broken, as ``detail`` says.

    ``flaw``: see :class:`Broken`.
    """
    if not condition:
        raise Broken(detail, flaw)


def need(condition: object, reason: str) -> None:
    """Go on only if ``condition`` holds; otherwise the case does not apply."""
    if not condition:
        raise NotApplicable(reason)
