"""Processes that are forked to run tests over one mutant, and what became of it.

A warm child comes from a process that has collected all tests: the code of one function is
exchanged in it, and the tests run. That is for functions that nothing has called before the first
test. Everything else is for a cold child: it comes from a process without the packages, puts the
changed source in place of the module, and collects what it needs.
"""

import gc
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from types import CodeType, FunctionType, ModuleType
from typing import BinaryIO, NoReturn

import pytest
from msgspec import Struct

from tests.mutation.mutants import Mutant
from tests.mutation.reach import ARGUMENTS, UNTIMED, Repeatable

MEMORY = 4 << 30
"""Bytes of address space for a child: what grows without end fails."""
_SLOWEST = 20.0
"""A test may take so many times the CPU time that was measured with few examples..."""
_LEAST = 4.0
"""...and so many seconds more."""
_PATIENCE = 900.0
"""Seconds of real time without a word, after which a child waits for something."""
_KILLED, _SURVIVED, _CAPPED = b"k", b"s", b"c"


class Verdict(Struct):
    """What became of a mutant."""

    outcome: str
    """``killed``, ``timed out`` or ``survived``."""
    ran: int
    """Tests that have begun."""
    test: int | None = None
    """Which one killed it."""
    capped: bool = False
    """Whether there would have been more tests, but no time for them."""


class Plan(Struct):
    """One mutant, and the tests for it in the order in which they run."""

    mutant: Mutant | None
    """None: the code as it is."""
    tests: list[int]
    ids: list[str]
    seconds: list[float]
    """As they were measured."""
    budget: float
    """Seconds of CPU time after which no further test begins."""


@contextmanager
def apart(work: Callable[[int], None]) -> Iterator[BinaryIO]:
    """Run ``work`` in a child that writes to the file descriptor it is given; yields what comes."""
    child, reading = _started(work)
    try:
        with os.fdopen(reading, "rb") as come:
            yield come
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def fork(work: Callable[[int], None]) -> Verdict:
    """The same for a child that runs tests, within limits: wait for what becomes of it."""

    def limited(out: int) -> None:
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        work(out)

    child, reading = _started(limited)
    said = b""
    try:
        while select.select([reading], [], [], _PATIENCE)[0]:
            more = os.read(reading, 1 << 16)
            if not more:
                break
            said += more
        else:
            os.kill(child, signal.SIGKILL)
    finally:
        os.close(reading)
        _, status = os.waitpid(child, 0)
    return _judge(said, status)


def _started(work: Callable[[int], None]) -> tuple[int, int]:
    """A child, and where what it writes can be read."""
    reading, writing = os.pipe()
    # What fork() calls back would swallow the exception of an interrupt: it has to come later.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    child = os.fork()
    if not child:
        try:
            os.close(reading)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            _quiet()
            work(writing)
        finally:
            os._exit(1)
    os.close(writing)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return child, reading


def _quiet() -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)


def _judge(said: bytes, status: int) -> Verdict:
    words = said.split()
    tests = [int(word) for word in words if word.isdigit()]
    last = tests[-1] if tests else None
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) in {signal.SIGPROF, signal.SIGKILL}:
        return Verdict("timed out", len(tests), last)
    if words and words[-1] in {_SURVIVED, _CAPPED}:
        return Verdict("survived", len(tests), capped=words[-1] == _CAPPED)
    return Verdict("killed", len(tests), last)


class Runner:
    """A plugin that runs the tests of a plan in turn, and ends the process at the first failure."""

    def __init__(self, plan: Plan, out: int) -> None:
        self._plan = plan
        self._out = out

    def end(self, word: bytes) -> NoReturn:
        """Say it, and be gone without any clearing up."""
        os.write(self._out, word + b"\n")
        os._exit(0)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Any failure will do."""
        if report.failed:
            self.end(_KILLED)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A module that cannot be loaded is noticed as well."""
        if report.failed:
            self.end(_KILLED)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """For a cold child: all that it has collected."""
        self.run({item.nodeid: item for item in session.items})

    def run(self, items: dict[str, pytest.Item]) -> NoReturn:
        """Run what is planned and there."""
        plan = self._plan
        rows = [
            row for row in zip(plan.tests, plan.ids, plan.seconds, strict=True) if row[1] in items
        ]
        began = time.process_time()
        for number, (test, name, seconds) in enumerate(rows):
            if time.process_time() - began > plan.budget:
                self.end(_CAPPED)
            following = items[rows[number + 1][1]] if number + 1 < len(rows) else None
            os.write(self._out, b"%d\n" % test)
            signal.setitimer(signal.ITIMER_PROF, _SLOWEST * seconds + _LEAST)
            item = items[name]
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        self.end(_SURVIVED)


class _Changed(MetaPathFinder, Loader):
    """Finds one module, with other source than its file has."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant
        self._name = mutant.path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")

    def find_spec(
        self, fullname: str, path: object, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        return spec_from_file_location(fullname, os.path.abspath(self._mutant.path), loader=self)

    def exec_module(self, module: ModuleType) -> None:
        exec(_compiled(self._mutant), vars(module))


def _compiled(mutant: Mutant) -> CodeType:
    return compile(mutant.source(), os.path.abspath(mutant.path), "exec", dont_inherit=True)


def run_cold(plan: Plan) -> Verdict:
    """In a child of this process, which must not have loaded the packages."""

    def work(out: int) -> None:
        if plan.mutant is not None:
            sys.meta_path.insert(0, _Changed(plan.mutant))
        files = sorted({name.partition("::")[0] for name in plan.ids})
        signal.setitimer(signal.ITIMER_PROF, 30 * _LEAST)
        runner = Runner(plan, out)
        pytest.main([*ARGUMENTS, *UNTIMED, *files], plugins=[Repeatable(), runner])
        runner.end(_KILLED)

    return fork(work)


class Warm:
    """A plugin that collects all tests, and then has children for plans."""

    def __init__(self, work: Callable[["Warm"], None]) -> None:
        self._work = work

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Everything is collected: now work."""
        self._items = {item.nodeid: item for item in session.items}
        self._functions: dict[tuple[str, str, int], list[FunctionType]] = {}
        here = os.getcwd() + os.sep
        gc.unfreeze()  # what collecting has frozen is not listed
        for each in gc.get_objects():
            if isinstance(each, FunctionType) and each.__code__.co_filename.startswith(here):
                code = each.__code__
                key = code.co_filename.removeprefix(here), code.co_qualname, code.co_firstlineno
                self._functions.setdefault(key, []).append(each)
        gc.collect()
        gc.freeze()
        self._work(self)
        return True

    def run(self, plan: Plan) -> Verdict | None:
        """In a child of this process; None if the function cannot be exchanged."""
        found = None if plan.mutant is None else self._exchanged(plan.mutant)
        if found is None:
            return None
        functions, code = found

        def work(out: int) -> None:
            for function in functions:
                function.__code__ = code
            runner = Runner(plan, out)
            plugins = next(iter(self._items.values())).config.pluginmanager
            plugins.register(runner)
            runner.run(self._items)

        return fork(work)

    def _exchanged(self, mutant: Mutant) -> tuple[list[FunctionType], CodeType] | None:
        for code in _outermost(_compiled(mutant)):
            key = mutant.path, code.co_qualname, code.co_firstlineno
            functions = self._functions.get(key, [])
            if not (mutant.function + ".").startswith(code.co_qualname + "."):
                continue
            if functions and functions[0].__code__ != code:
                free = {function.__code__.co_freevars for function in functions}
                return (functions, code) if free == {code.co_freevars} else None
        return None


def _outermost(whole: CodeType) -> Iterator[CodeType]:
    """Functions that are in no other function; those of classes too."""
    for each in whole.co_consts:
        if isinstance(each, CodeType):
            if each.co_flags & 0x2:
                yield each
            else:
                yield from _outermost(each)


def collect_warm(tests: Sequence[str], work: Callable[[Warm], None]) -> None:
    """Collect ``tests`` in this process, and give it to ``work``."""
    pytest.main([*ARGUMENTS, *UNTIMED, *tests], plugins=[Repeatable(), Warm(work)])
