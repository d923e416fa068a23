"""What functions of the user's end with: which is a failure of theirs, and which is not."""

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trio

from mcpcore.errors import HandlerExit, InputNeeded, ToolError
from mcpcore_transports.running.functions import failure_of, settled
from tests.leaving import Left

pytestmark = pytest.mark.anyio

ASKED = InputNeeded({})


def group(*errors: BaseException) -> BaseException:
    return BaseExceptionGroup("several", errors)


@pytest.mark.parametrize(
    "made",
    [
        SystemExit(3),
        GeneratorExit(),
        Left(),
        pytest.fail.Exception("no"),
        pytest.skip.Exception("not now"),
        group(SystemExit(), ValueError()),
    ],
    ids=lambda made: type(made).__name__,
)
@pytest.mark.parametrize("wrapped", [False, True])
async def test_what_is_no_exception_becomes_one(made: BaseException, wrapped: bool) -> None:
    error = group(group(made)) if wrapped else made
    for failure in (failure_of(error), settled(error)):
        assert isinstance(failure, HandlerExit)
        assert failure.__cause__ is made
        assert str(failure) == f"it ended with {type(made).__name__}"


async def test_exceptions_are_failures_as_they_are() -> None:
    several = ExceptionGroup("several", [ValueError(), ToolError("no")])
    for error in (ValueError(), several):
        assert failure_of(error) is error
        assert settled(error) is error
    only = ToolError("no")
    assert failure_of(ExceptionGroup("one", [ExceptionGroup("one", [only])])) is only


@pytest.mark.parametrize("made", [asyncio.CancelledError, "a stale one of trio"])
async def test_a_cancellation_that_nobody_asked_for_is_a_failure(
    made: Any, anyio_backend_name: str
) -> None:
    if made != asyncio.CancelledError:
        if anyio_backend_name == "asyncio":
            pytest.skip("trio makes one only where it runs")
        with anyio.CancelScope() as scope:
            scope.cancel()
            try:
                await anyio.lowlevel.checkpoint()
            except trio.Cancelled as cancelled:
                made = cancelled
                raise
        error: BaseException = made
    else:
        error = made()
    failure = failure_of(error)
    assert type(failure) is RuntimeError
    assert failure.__cause__ is error


def raised_by(error: BaseException) -> BaseException | None:
    try:
        failure_of(error)
    except BaseException as raised:
        return raised
    return None


async def test_a_cancellation_that_was_asked_for_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    real: list[BaseException] = []
    found: list[BaseException | None] = []
    with anyio.CancelScope() as scope:
        scope.cancel()
        try:
            await anyio.lowlevel.checkpoint()
        except BaseException as cancelled:
            real.append(cancelled)
            found.append(raised_by(cancelled))
            found.append(raised_by(group(cancelled)))
            others = (ValueError("cleaning up failed"), SystemExit())
            found.append(raised_by(group(cancelled, *others)))
            raise
    assert scope.cancelled_caught
    alone, *grouped = found
    assert alone is real[0]
    for each in grouped:
        assert isinstance(each, BaseExceptionGroup)
        assert list(each.exceptions) == real
    [record] = caplog.records
    assert "failed besides" in record.getMessage()
    assert "cleaning up failed" in caplog.text


@pytest.mark.parametrize("made", [KeyboardInterrupt(), group(KeyboardInterrupt(), SystemExit())])
async def test_ctrl_c_is_no_failure(made: BaseException) -> None:
    with pytest.raises(BaseException) as caught:
        failure_of(made)
    kinds = (KeyboardInterrupt, BaseExceptionGroup)
    assert isinstance(caught.value, kinds)
    assert "SystemExit" not in repr(caught.value)


async def test_signals_stay_what_they_are_where_somebody_minds_them() -> None:
    for error in (ASKED, group(ASKED, ValueError())):
        assert settled(error) is error
        assert isinstance(failure_of(error), HandlerExit)


@pytest.mark.parametrize("judge", [failure_of, settled])
def test_where_nothing_runs_a_coroutine_is_dropped(judge: Callable[[BaseException], Any]) -> None:
    """GeneratorExit comes then from who has dropped it, and nobody can be told of anything."""
    ends: list[object] = []

    async def work() -> None:
        try:
            await asyncio.Future()
        except BaseException as error:
            ends.append(error)
            found = judge(error)
            ends.append(found)
            raise

    async def begin() -> None:
        tasks.append(asyncio.ensure_future(work()))
        await asyncio.sleep(0)

    tasks: list[Any] = []
    loop = asyncio.new_event_loop()
    loop.run_until_complete(begin())
    loop.close()
    loop.set_exception_handler(lambda *_: None)
    coroutine = tasks.pop().get_coro()
    coroutine.close()
    gc.collect()
    assert isinstance(ends[0], GeneratorExit)
    assert ends[1:] == ([] if judge is failure_of else [ends[0]])
