"""What measures itself has so many calls in flight as it is told to."""

import asyncio
import json

import pytest

from mcpcore_bench.programs.measuring import measured, widened


@pytest.mark.parametrize("width", [1, 2, 16, 1000])
def test_so_many_calls_are_in_flight_and_each_of_them_counts(width: int) -> None:
    flying, most, made = 0, 0, 0

    async def call() -> None:
        nonlocal flying, most, made
        flying += 1
        most = max(most, flying)
        await asyncio.sleep(0)
        flying -= 1
        made += 1

    sample = json.loads(asyncio.run(measured(call, 0.0, 0.0, width)))
    assert (most, flying) == (width, 0)
    # Each once to warm up, and once to be counted.
    assert (made, sample["facts"]["count"]) == (2 * width, width)
    assert sum(sample["latency"].values()) == width


@pytest.mark.parametrize("width", [1, 16])
def test_a_wrong_reply_ends_it(width: int) -> None:
    async def call() -> None:
        await asyncio.sleep(0)
        raise ValueError("wrong reply")

    with pytest.raises((ValueError, ExceptionGroup)):
        asyncio.run(measured(call, 0.0, 60.0, width))


@pytest.mark.parametrize(
    ("words", "width", "rest"),
    [
        (("0.3", "1.0"), 1, ["0.3", "1.0"]),
        (("--width", "64", "0.3", "1.0", "http://here"), 64, ["0.3", "1.0", "http://here"]),
    ],
)
def test_the_width_comes_first(words: tuple[str, ...], width: int, rest: list[str]) -> None:
    assert widened(words) == (width, rest)
