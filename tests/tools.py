"""What the command lines of ``python -m tests.…`` have in common."""

import argparse
import math
from collections.abc import Callable
from typing import Never

INTERRUPTED = 130
"""Exit status after Ctrl-C, as that of the commands of mcpcore."""
_USAGE = 2


def interrupted(error: BaseException) -> bool:
    """Whether somebody has pressed Ctrl-C, whatever came of it on the way out."""
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(KeyboardInterrupt) is not None
    return isinstance(error, KeyboardInterrupt)


class Parser(argparse.ArgumentParser):
    """Ends the program with one sentence where something is wrong, and with status 2."""

    def error(self, message: str) -> Never:
        """Say it, without the usage: ``--help`` tells that."""
        self.exit(_USAGE, f"{self.prog}: error: {message}\n")


def positive(text: str) -> int:
    """Read a number of things of which there is one at least."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of at least 1")
    return int(text)


def time_in(unit: str) -> Callable[[str], float]:
    """A reader of times in which something can be done, and which end."""

    def read(text: str) -> float:
        try:
            time = float(text)
        except ValueError:
            time = math.nan
        if not 0 < time < math.inf:
            raise argparse.ArgumentTypeError(f"{text!r} is no number of {unit} above 0")
        return time

    return read
