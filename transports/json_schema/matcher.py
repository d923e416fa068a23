"""Matching patterns in linear time: automata that are made while they run.

A pattern becomes a program of states (Thompson's construction).  All states in which the program
could be are carried along together, and what one character does to a set of states is remembered,
so that most characters cost a look into a table.  Lookahead and lookbehind are programs of their
own that run over the text first, from its other end for lookahead, and note the places where they
match; to the program they belong to they are conditions on a place, like ``^`` and the edge of a
word.  Nothing is ever tried twice.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, repeat

from transports.json_schema.patterns import (
    Boundary,
    Chars,
    Choice,
    Look,
    Repeat,
    Sequence,
    Tree,
    parse_pattern,
)

Take = Callable[[int], None]
"""Is told of work, in units of some microseconds; raises if that was too much."""

_BEGIN, _END, _WORD = 1, 2, 4
_FIRST_LOOK = 8
_BOUNDARIES = {
    "begin": (_BEGIN, True),
    "end": (_END, True),
    "word": (_WORD, True),
    "inside": (_WORD, False),
}
_REMEMBERED = 5_000
"""Sets of states, and what characters do to them, that are remembered at the same time."""
_WORD_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")


def _nothing(work: int) -> None:
    """Let any amount of work pass."""


class Matcher:
    """One pattern.  Raises :class:`~transports.json_schema.patterns.BadPattern`."""

    __slots__ = ("_program", "_tree")

    def __init__(self, pattern: str | Tree) -> None:
        self._tree = parse_pattern(pattern) if isinstance(pattern, str) else pattern
        self._program: _Program | None = None

    def search(self, text: str, take: Take = _nothing) -> bool:
        """Whether the pattern matches anywhere in ``text``; ``take`` may raise to stop it."""
        if self._program is None:
            self._program = _Program(self._tree, backward=False)
        return self._program.search(text, take)


class _Places:
    """A set of states behind a character, with what became of it."""

    __slots__ = ("closures", "states")

    def __init__(self, states: tuple[int, ...]) -> None:
        self.states = states
        self.closures: dict[int, _Closure] = {}
        """By the conditions that hold at the place."""


class _Closure:
    """All states that are reached without a character: those that wait for one, and the end."""

    __slots__ = ("matched", "moves", "waiting")

    def __init__(self, waiting: tuple[int, ...], matched: bool) -> None:
        self.waiting = waiting
        self.matched = matched
        self.moves: dict[str, _Places] = {}


class _Program:
    def __init__(self, tree: Tree, *, backward: bool) -> None:
        self._backward = backward
        # Of a state: the characters that it waits for, or the condition that it passes on
        # (bit, wanted), or nothing; then where it leads to.
        self._chars: list[Chars | None] = [None]
        self._conditions: list[tuple[int, bool] | None] = [None]
        self._targets: list[tuple[int, ...]] = [()]
        self._looks: list[tuple[_Program, bool]] = []
        self._bits = 0
        self._start = self._build(tree, 0)
        self._forget()
        later = [self._reached((self._start,), condition, _nothing) for condition in (0, _END)]
        self._anchored = self._bits in (_BEGIN, _BEGIN | _END) and not any(
            closure.matched or closure.waiting for closure in later
        )
        """A match begins where the text does: with no state left, none will come."""

    # Building

    def _state(
        self,
        targets: tuple[int, ...],
        chars: Chars | None = None,
        condition: tuple[int, bool] | None = None,
    ) -> int:
        self._chars.append(chars)
        self._conditions.append(condition)
        self._targets.append(targets)
        return len(self._targets) - 1

    def _build(self, tree: Tree, then: int) -> int:
        """Add the states of ``tree``, which lead to the state ``then``; returns the first."""
        match tree:
            case Chars():
                return self._state((then,), chars=tree)
            case Sequence():
                for part in tree.parts if self._backward else reversed(tree.parts):
                    then = self._build(part, then)
                return then
            case Choice():
                return self._state(tuple(self._build(each, then) for each in tree.branches))
            case Repeat():
                return self._build_repeat(tree, then)
            case Boundary():
                condition = _BOUNDARIES[tree.kind]
            case Look():
                self._looks.append((_Program(tree.tree, backward=tree.ahead), tree.ahead))
                condition = (_FIRST_LOOK << (len(self._looks) - 1), not tree.negated)
        self._bits |= condition[0]
        return self._state((then,), condition=condition)

    def _build_repeat(self, tree: Repeat, then: int) -> int:
        least = tree.least
        if tree.most is None:
            loop = self._state(())
            body = self._build(tree.tree, loop)
            self._targets[loop] = (body, then)
            start = loop
            if least:
                start, least = body, least - 1
        else:
            start = then
            for _ in range(tree.most - least):
                start = self._state((self._build(tree.tree, start), then))
        for _ in range(least):
            start = self._build(tree.tree, start)
        return start

    # Running

    def search(self, text: str, take: Take) -> bool:
        take(len(text) >> 6)
        places = self._first
        characters: Iterator[str] = iter(text)
        for condition in self._conditions_of(text, take):
            closure = places.closures.get(condition) or self._close(places, condition, take)
            if closure.matched:
                return True
            character = next(characters, None)
            if character is None:
                break
            places = closure.moves.get(character) or self._move(closure, character, take)
            if places is self._empty and self._anchored:
                break
        return False

    def _scan(self, text: str, take: Take) -> list[bool]:
        """Note for every place whether a match ends there; begins, for a backward program."""
        conditions: Iterable[int] = self._conditions_of(text, take)
        if self._backward:
            text = text[::-1]
            conditions = list(conditions)[::-1]
        take(len(text) >> 5)
        places = self._first
        found = []
        characters = iter(text)
        for condition in conditions:
            closure = places.closures.get(condition) or self._close(places, condition, take)
            found.append(closure.matched)
            character = next(characters, None)
            if character is None:
                break
            places = closure.moves.get(character) or self._move(closure, character, take)
        return found[::-1] if self._backward else found

    def _conditions_of(self, text: str, take: Take) -> Iterable[int]:
        """What holds at each of the places, of which there is one more than characters."""
        size = len(text)
        if not self._bits & ~(_BEGIN | _END):
            if not size:
                return (self._bits,)
            return chain((self._bits & _BEGIN,), repeat(0, size - 1), (self._bits & _END,))
        take(size >> 5)
        conditions = [0] * (size + 1)
        conditions[0] |= _BEGIN
        conditions[-1] |= _END
        if self._bits & _WORD:
            before = False
            for place, character in enumerate(text):
                word = character in _WORD_CHARACTERS
                if word is not before:
                    conditions[place] |= _WORD
                before = word
            if before:
                conditions[-1] |= _WORD
        for number, (program, _) in enumerate(self._looks):
            bit = _FIRST_LOOK << number
            for place, matched in enumerate(program._scan(text, take)):
                if matched:
                    conditions[place] |= bit
        # What nothing asks for must not make two places differ.
        return [condition & self._bits for condition in conditions]

    def _close(self, places: _Places, condition: int, take: Take) -> _Closure:
        self._count += 1
        states = (*places.states, self._start)
        closure = places.closures[condition] = self._reached(states, condition, take)
        return closure

    def _reached(self, states: tuple[int, ...], condition: int, take: Take) -> _Closure:
        pending, seen = list(states), set(states)
        waiting = []
        while pending:
            state = pending.pop()
            if self._chars[state] is not None:
                waiting.append(state)
                continue
            wanted = self._conditions[state]
            if wanted is not None and bool(condition & wanted[0]) is not wanted[1]:
                continue
            for target in self._targets[state]:
                if target not in seen:
                    seen.add(target)
                    pending.append(target)
        take(1 + (len(seen) >> 4))
        return _Closure(tuple(waiting), 0 in seen)

    def _move(self, closure: _Closure, character: str, take: Take) -> _Places:
        take(1 + (len(closure.waiting) >> 4))
        if self._count > _REMEMBERED:
            self._forget()
        self._count += 1
        reached = {
            self._targets[state][0]
            for state in closure.waiting
            if (chars := self._chars[state]) is not None and chars.holds(character)
        }
        states = tuple(sorted(reached))
        places = self._known.get(states)
        if places is None:
            places = self._known[states] = _Places(states)
        closure.moves[character] = places
        return places

    def _forget(self) -> None:
        self._count = 0
        self._first = self._empty = _Places(())
        self._known: dict[tuple[int, ...], _Places] = {(): self._empty}
