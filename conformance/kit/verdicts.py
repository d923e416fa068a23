"""How a dialogue ends early."""


class Ended(Exception):
    """A dialogue is over; the text says why."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class Broken(Ended):
    """The clause is broken: failed, or weak if it is a SHOULD, informational if it is a MAY."""


class NotApplicable(Ended):
    """The program does not have what the clause is about."""


class Inconclusive(Ended):
    """It cannot be found out whether the clause holds."""


def check(condition: object, detail: str) -> None:
    """Go on only if ``condition`` holds; otherwise the clause is broken, as ``detail`` says."""
    if not condition:
        raise Broken(detail)
