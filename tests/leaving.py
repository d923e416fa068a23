"""Functions that end with what is no Exception, as ``sys.exit`` does, and what is told of them.

Each kind of end carries a word by which it is found in a log; the other side must never see it.
"""

import logging
import re
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from mcpcore.service.handlers import MASKED

LOG = "what was logged"
"""The case of the journal that holds the words."""
_WORD = re.compile(r"secret-[\w-]+")
_ID = re.compile(r"error id (\w+)")


class Left(BaseException):
    """A BaseException of somebody else's."""


ENDS: dict[str, Callable[[str], BaseException]] = {
    "exit": SystemExit,
    "generator": GeneratorExit,
    "own": Left,
    "group": lambda word: BaseExceptionGroup("several", [SystemExit(word), ValueError(word)]),
}
"""Kinds of ends, made of a word."""
EXITED = f"{MASKED}: the handler tried to end the program"
TOLD = {how: EXITED if how == "exit" else MASKED for how in ENDS}
"""What the client is told of each, but for the id."""


def leave(how: str, word: str) -> str:
    """End so."""
    raise ENDS[how](word)


class Journal(Protocol):
    """Takes entries of a case."""

    def add(self, case: str, entry: str) -> None:
        """Take one."""


class _Words(logging.Handler):
    """Writes the words of exceptions into journals, each alone and behind the id of its error."""

    def __init__(self) -> None:
        super().__init__()
        self.journals: weakref.WeakSet[Journal] = weakref.WeakSet()

    def emit(self, record: logging.LogRecord) -> None:
        made = _ID.findall(record.getMessage())
        for word in sorted(set(_WORD.findall(self.format(record)))):
            for entry in (word, *(f"{each} {word}" for each in made)):
                for journal in tuple(self.journals):
                    journal.add(LOG, entry)


_handlers: dict[str, _Words] = {}


def write_words(logger: str, journal: Journal) -> None:
    """Have the journal hold, as long as it lives, the words of all exceptions in a log."""
    if logger not in _handlers:
        _handlers[logger] = _Words()
        logging.getLogger(logger).addHandler(_handlers[logger])
    _handlers[logger].journals.add(journal)


class Words:
    """A journal for a test's own process."""

    def __init__(self) -> None:
        self.entries: list[str] = []

    def add(self, case: str, entry: str) -> None:
        self.entries.append(entry)


@contextmanager
def words_in(logger: str) -> Iterator[list[str]]:
    """The words that come into a log during the block."""
    words = Words()
    write_words(logger, words)
    yield words.entries
    _handlers[logger].journals.discard(words)
