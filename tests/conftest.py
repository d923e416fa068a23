"""What every test may use: the event loops under test, and bounds for property-based tests."""

import gc
import os
import signal
import sys
import zlib
from collections import Counter, defaultdict
from collections.abc import Generator, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from _pytest.runner import runtestprotocol
from hypothesis import HealthCheck, settings

from tests.clock import Clock, skipped_time
from tests.shares import Some

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell has started us in the background; programs that tests interrupt would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)

LONGEST = (
    "interop/test_real.py",
    "transports/http/test_http_floods.py",
    "bindings/test_behaviours.py",
    "conformance_kit/mutants/test_every_mutant.py",
    "bindings/test_faults.py",
    "conformance_kit/run/test_ours.py",
    "interop/test_interop.py",
    "fuzz/test_fuzz.py",
    "simulation/test_simulation.py",
    "interop/test_official_suite.py",
    "soak/test_soak.py",
    "websocket_table/test_websocket_table.py",
    "simulation/test_simulation_mutations.py",
    "torture/test_torture.py",
    "interop/test_authorization_interop.py",
    "transports/stdio/test_stdio_fleet.py",
    "conformance_kit/servers/test_tools_that_may_be_called.py",
    "conformance_kit/servers/test_servers_that_ask.py",
    "interop/test_official_suite_asgi.py",
    "gateway/test_kit.py",
)
"""Files whose long tests take a minute or many, in the order in which they begin.

A worker has a whole file: one of these that began last would leave the others with nothing to do.
Those that wait more than they work come first, as the tests of the core go on beside them; the soak
comes behind those that start programs by the hundred."""

settings.register_profile(
    "default",
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("few", parent=settings.get_profile("default"), max_examples=8)
settings.register_profile("long", parent=settings.get_profile("default"), max_examples=240)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Run each test marked ``anyio`` on both event loops."""
    return request.param


@pytest.fixture
def clock() -> Iterator[Clock]:
    """Let a test skip the time that it would have to wait."""
    with skipped_time() as made:
        yield made


@pytest.fixture(scope="session", autouse=True)
def warm_programs() -> Iterator[None]:
    """What is behind ``tests.warm.PYTHON``, if anything imports that: one program a worker."""
    warm = sys.modules.get("tests.warm")
    with nullcontext() if warm is None else warm.warm_programs():
        yield


@pytest.fixture(scope="session")
def some(pytestconfig: pytest.Config) -> Some:
    """What ``--repetitions`` leaves of hundreds of things of one kind."""
    return Some(pytestconfig.getoption("repetitions"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """For what all the cases of a test are too many, measuring coverage above all."""
    about = "of the cases of each test, run one in so many"
    parser.addoption("--share", type=int, default=1, metavar="N", help=about)
    about = "of the long cases that repeat a quick one along some axis, run one in so many"
    parser.addoption("--repetitions", type=int, default=1, metavar="N", help=about)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Have no search for garbage among the tests, which stay: not now, and not in each of them.

    Nor is there one at every turn: a twelfth of the time went into that.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave repetitions along one axis to the long run; begin with the longest files.

    In the quick run each case of a test meets one event loop, and the cases take turns; a mark
    ``turns`` names other arguments (ways of serving HTTP) that are dealt out in the same way.  Of a
    test that is marked ``share`` it has some of the cases only.  The long run has the others; for
    it, what is long on one event loop is a repetition on the other.  With ``--repetitions`` each
    quick test keeps one of its repetitions at least, and each file one of those of its long tests.
    """
    tests: dict[str, list[pytest.Function]] = defaultdict(list)
    for item in items:
        if isinstance(item, pytest.Function) and hasattr(item, "callspec"):
            tests[item.nodeid.partition("[")[0]].append(item)
    for name, cases in tests.items():
        for axis in cases[0].iter_markers("turns"):
            _deal_out(name, cases, str(axis.args[0]))
        property_based = getattr(cases[0].obj, "is_hypothesis_test", False)
        if not property_based:  # it would try many more examples there
            _deal_out(name, cases, "anyio_backend")
        for share in cases[0].iter_markers("share"):
            _thin_out(cases, int(share.args[0]))
    left_out: list[pytest.Function] = []
    repeated: dict[str | Path, list[pytest.Function]] = defaultdict(list)
    for name, cases in tests.items():
        if (of_all := config.getoption("share")) > 1:
            for long in (False, True):  # some of either, as a run has one of them
                these = [case for case in cases if long is bool(case.get_closest_marker("long"))]
                left_out += _beyond(these, of_all)
        quick = any(case.get_closest_marker("long") is None for case in cases)
        repeats = [case for case in cases if case.get_closest_marker("repeats")]
        repeated[name if quick else cases[0].path] += repeats
    for cases in repeated.values():
        left_out += _beyond(cases, config.getoption("repetitions"))
    config.hook.pytest_deselected(items=left_out)
    gone = {id(case) for case in left_out}
    items[:] = [item for item in items if id(item) not in gone]
    here = Path(__file__).parent
    order = {here / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path, len(order)))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Have a worker tell of a setup or teardown only if it failed, or took long.

    To send and to read three reports of each test took 0.4 ms of CPU more than one does.
    """
    if not hasattr(item.config, "workerinput"):
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in runtestprotocol(item, log=False, nextitem=nextitem):
        if report.when == "call" or not report.passed or report.duration > 1:
            item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what tests have recorded as their ``figures``: what a worker prints would be lost."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport) and report.when == "call":
                for name, text in report.user_properties:
                    if name == "figures":
                        terminalreporter.write_sep("-", report.nodeid)
                        terminalreporter.write_line(str(text))


def _deal_out(name: str, cases: Sequence[pytest.Function], axis: str) -> None:
    """Leave all but one value of ``axis`` for each combination of the other arguments.

    It is the value that the arguments have met least, so that each of them meets all if it can.
    """
    rows: dict[tuple[tuple[str, int], ...], list[pytest.Function]] = defaultdict(list)
    for case in cases:
        params = case.callspec.params
        if axis in params and case.get_closest_marker("repeats") is None:
            long = ("long", case.get_closest_marker("long") is not None)
            rest = ((key, id(params[key])) for key in params if key != axis)
            rows[(long, *rest)].append(case)
    met: Counter[tuple[tuple[str, int], int]] = Counter()
    start = zlib.crc32(name.encode())
    for others, row in rows.items():
        values = [id(case.callspec.params[axis]) for case in row]
        order = sorted(range(len(row)), key=lambda place: (start + place) % len(row))
        chosen = min(order, key=lambda place: sum(met[each, values[place]] for each in others))
        met.update((each, values[chosen]) for each in others)
        for place, case in enumerate(row):
            if place != chosen:
                _leave(case)


def _thin_out(cases: Sequence[pytest.Function], share: int) -> None:
    """Mark as long all but one in ``share`` of the cases."""
    quick = [case for case in cases if case.get_closest_marker("long") is None]
    for case in _beyond(quick, share):
        _leave(case)


def _leave(case: pytest.Function) -> None:
    """Leave a case to the long run, as one that repeats another along some axis."""
    case.add_marker(pytest.mark.long)
    case.add_marker(pytest.mark.repeats)


def _beyond(cases: Sequence[pytest.Function], share: int) -> list[pytest.Function]:
    """All but one in ``share`` of the cases.

    Their names decide which: by their places, all that stay could have one value of an axis.
    """
    kept = {id(case) for case in Some(share)(cases, lambda case: case.nodeid)}
    return [case for case in cases if id(case) not in kept]
