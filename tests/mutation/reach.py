"""Which tests reach which lines of the packages under test, and what each costs: measured once."""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import coverage
import msgspec
import pytest
from hypothesis import Phase, settings
from msgspec import Struct

ARGUMENTS = ("-q", "-m", "not long", "-p", "no:cacheprovider", "-p", "no:mcp-conformance")
"""How pytest is told what to collect, whatever for."""
UNTIMED = ("-o", "timeout=0", "--capture=sys", "-W", "ignore::pytest.PytestAssertRewriteWarning")
"""Limits are of CPU time, and set by whoever runs a mutant; hypothesis is there before pytest."""
_EXAMPLES = 20
"""Of hypothesis, while it is measured: the lines that a test reaches show soon."""


class Reach(Struct):
    """Tests by their index, in the order in which pytest collects them."""

    tests: list[str]
    seconds: list[float]
    """CPU time of each, under measurement."""
    lines: dict[str, dict[int, list[int]]]
    """By path and line: who reaches it while it runs."""
    loaded: dict[str, list[int]]
    """By path: lines that run while modules are loaded, before any test."""


class Repeatable:
    """A plugin: hypothesis takes the same examples each time, and does not shrink what fails."""

    def __init__(self, examples: int | None = None) -> None:
        self._examples = examples

    def pytest_sessionstart(self) -> None:
        """After the conftest has chosen its profile, before a test module is loaded."""
        usual = settings.get_profile("default")
        settings.register_profile(
            "repeatable",
            parent=usual,
            derandomize=True,
            database=None,
            phases=[Phase.explicit, Phase.generate, Phase.target],
            report_multiple_bugs=False,
            max_examples=self._examples or usual.max_examples,
        )
        settings.load_profile("repeatable")


class _Measure:
    def __init__(self, measured: coverage.Coverage) -> None:
        self.tests: list[str] = []
        self.seconds: list[float] = []
        self.failed: list[str] = []
        self._measured = measured

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._measured.switch_context(str(len(self.tests)))
        began = time.process_time()
        result = yield
        self.seconds.append(time.process_time() - began)
        self.tests.append(item.nodeid)
        self._measured.switch_context("")
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)


def measure(packages: Sequence[str], tests: Sequence[str]) -> Reach:
    """Run ``tests`` once in this process, which must not have loaded ``packages`` before.

    Raises RuntimeError if they fail: nothing can be said of mutants then.
    """
    measured = coverage.Coverage(
        data_file=None, config_file=False, include=[f"{package}/*" for package in packages]
    )
    measured.start()
    plugin = _Measure(measured)
    status = pytest.main([*ARGUMENTS, *UNTIMED, *tests], plugins=[Repeatable(_EXAMPLES), plugin])
    measured.stop()
    if status != pytest.ExitCode.OK:
        raise RuntimeError(f"the tests fail by themselves: {plugin.failed[:5]}")
    reach = Reach(plugin.tests, plugin.seconds, {}, {})
    data = measured.get_data()
    here = Path.cwd()
    for file in sorted(data.measured_files()):
        path = Path(file).relative_to(here).as_posix()
        by_line = data.contexts_by_lineno(file)
        reach.loaded[path] = sorted(line for line, tests in by_line.items() if "" in tests)
        reach.lines[path] = {
            line: sorted(int(test) for test in tests if test)
            for line, tests in sorted(by_line.items())
        }
    return reach


def digests(packages: Sequence[str], tests: Sequence[str]) -> tuple[str, dict[str, str]]:
    """Of the packages under test and all code that is no test, and of each file of tests."""
    files = {file for folder in tests for file in _python(folder)}
    whole = {file for package in packages for file in _python(package.partition("/")[0])}
    code = hashlib.sha256("\0".join(packages).encode())
    for file in sorted(whole) + sorted(file for file in files if not _holds_tests(file)):
        code.update(file.as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    each = {
        file.as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(files)
        if _holds_tests(file)
    }
    return code.hexdigest(), each


def _python(folder: str) -> list[Path]:
    path = Path(folder)
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


def _holds_tests(file: Path) -> bool:
    return file.name.startswith("test_")


def merge(old: Reach, new: Reach, gone: set[str]) -> Reach:
    """``old`` without the tests of the files ``gone``, and ``new``."""
    kept = [n for n, name in enumerate(old.tests) if name.partition("::")[0] not in gone]
    moved = {number: place for place, number in enumerate(kept)}
    lines: dict[str, dict[int, list[int]]] = {}
    for path in sorted(old.lines.keys() | new.lines.keys()):
        before, after = old.lines.get(path, {}), new.lines.get(path, {})
        lines[path] = {
            line: [moved[test] for test in before.get(line, ()) if test in moved]
            + [len(kept) + test for test in after.get(line, ())]
            for line in sorted(before.keys() | after.keys())
        }
    return Reach(
        [old.tests[number] for number in kept] + new.tests,
        [old.seconds[number] for number in kept] + new.seconds,
        lines,
        {
            path: sorted({*old.loaded.get(path, ()), *new.loaded.get(path, ())})
            for path in sorted(old.loaded.keys() | new.loaded.keys())
        },
    )


class _Kept(Struct):
    code: str
    files: dict[str, str]
    reach: Reach


def known(
    file: Path,
    packages: Sequence[str],
    tests: Sequence[str],
    measured: Callable[[Sequence[str]], Reach],
) -> Reach:
    """What ``file`` keeps; files of tests that are not as they were then are ``measured``."""
    code, files = digests(packages, tests)
    kept = msgspec.json.decode(file.read_bytes(), type=_Kept) if file.exists() else None
    if kept is None or kept.code != code:
        kept = _Kept(code, {}, Reach([], [], {}, {}))
    changed = {
        name for name in files.keys() | kept.files if files.get(name) != kept.files.get(name)
    }
    wanted = sorted(changed & files.keys())
    if changed:
        new = measured(wanted) if wanted else Reach([], [], {}, {})
        kept = _Kept(code, files, merge(kept.reach, new, changed))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(msgspec.json.encode(kept))
    return kept.reach
