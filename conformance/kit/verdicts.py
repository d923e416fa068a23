"""How a dialogue ends early."""

ERROR, NOISE = "error", "noise"
"""The flaws of an error whose form is wrong, and of a line of a process that is no JSON."""


class Ended(Exception):
    """A dialogue is over; the text says why."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class Broken(Ended):
    """The clause is broken: failed, or weak if it is a SHOULD, informational if it is a MAY.

    ``flaw``: what is wrong is the form of an answer to this method, or (``ERROR``) of an error,
    or (``NOISE``) that of a line; every case that gets such a one comes upon it.
    """

    def __init__(self, detail: str, flaw: str = "") -> None:
        super().__init__(detail)
        self.flaw = flaw


class NotApplicable(Ended):
    """The program does not have what the clause is about."""


class Inconclusive(Ended):
    """It cannot be found out whether the clause holds."""


def check(condition: object, detail: str, flaw: str = "") -> None:
    """Go on only if ``condition`` holds; otherwise the clause is broken, as ``detail`` says.

    ``flaw``: see :class:`Broken`.
    """
    if not condition:
        raise Broken(detail, flaw)
