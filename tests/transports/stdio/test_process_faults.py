"""Spawned servers that are slow, deaf, noisy or greedy: who notices, and what the user is told."""

import secrets
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpcore import ClientSettings, LinkError, Negotiation, ProcessSettings, connect
from mcpcore.engine.events import EndReason, Violation
from mcpcore_transports.stdio.process import ErrorLines, ProcessLink
from tests.more_time import with_more_time
from tests.transports.apps import Caller, make_client
from tests.transports.remains import held
from tests.transports.stdio.test_process_ends import bad_link, bad_server

pytestmark = pytest.mark.anyio


def program(text: str) -> list[str]:
    return [sys.executable, "-S", "-E", "-c", f"import sys\nsys.stdin.readline()\n{text}"]


def about(link: ProcessLink, what: str) -> bytes:
    return Path(f"/proc/{link.pid}/{what}").read_bytes()


async def failure_of(command: list[str], *revisions: str, **settings: Any) -> str:
    """What the user is told who connects to such a server."""
    before = held()
    process = ProcessSettings(close_wait=0.1, stderr="discard", **settings)
    with pytest.raises(LinkError) as caught:
        async with connect(
            command,
            settings=ClientSettings(process=process),
            revisions=revisions or ["2025-11-25"],
        ):
            pytest.fail("it connected")
    assert held() == before
    return str(caught.value)


@pytest.mark.parametrize("revisions", [["2025-11-25"], ["2025-11-25", "2026-07-28"]])
async def test_a_server_that_never_answers_is_given_up(revisions: list[str]) -> None:
    # It says something and goes on, as a server that asks for a password.
    said = "print('Hello', flush=True)\nprint('Password?', file=sys.stderr, flush=True)\n"
    command = program(f"{said}sys.stdin.read()")

    async def attempt(seconds: float) -> None:
        told = await failure_of(command, *revisions, startup_timeout=seconds)
        assert told == (
            f"the server process {Path(sys.executable).name} did not answer within {seconds} s of"
            " its start; its last words:\n  Password?; it has sent what is no message: 'Hello'"
        )

    await with_more_time(attempt, 0.3, 10.5)


async def test_the_time_to_start_ends_with_the_start() -> None:
    async def attempt(seconds: float) -> None:
        async with bad_server(startup_timeout=seconds) as (client, _):
            await client.ready()
            with anyio.move_on_after(seconds + 0.1):  # what is waited for is that nothing happens
                await anyio.sleep_forever()
            assert await client.echo(a=1) == {"a": 1}

    await with_more_time(attempt, 0.5, 10.0)


async def test_an_exit_with_code_0_is_told_with_its_last_words() -> None:
    told = await failure_of(program("print('nothing is configured', file=sys.stderr)"))
    assert told.endswith("exited with code 0; its last words:\n  nothing is configured")


async def test_a_limit_of_memory() -> None:
    told = await failure_of(program("x = bytearray(1 << 30)"), memory_limit=256 << 20)
    assert told.endswith("MemoryError")


async def test_a_limit_of_cpu() -> None:
    told = await failure_of(program("while True: pass"), cpu_limit=0.5)
    assert told.endswith("was ended by SIGXCPU (cpu_limit)")


async def test_limits_leave_a_server_as_it_is() -> None:
    limits = {"memory_limit": 1 << 30, "cpu_limit": 60.0}
    async with bad_server("child", **limits) as (client, link):
        assert await client.echo(a=1) == {"a": 1}
        said = about(link, "limits").decode().splitlines()
        found = {line[:26].strip(): line[26:].split()[:2] for line in said}
        assert found["Max data size"] == [str(1 << 30)] * 2
        assert found["Max cpu time"] == ["60", "61"]
        assert about(link, "cmdline").startswith(sys.executable.encode())


@pytest.mark.parametrize(
    ("command", "settings", "message"),
    [
        (["no-such-program"], {"cpu_limit": 1}, "command not found: no-such-program"),
        (["/no/such/program"], {"cpu_limit": 1}, "command not found: /no/such/program"),
        (["/etc/passwd"], {"cpu_limit": 1}, "cannot start /etc/passwd: Permission denied"),
        (["a\0b"], {"cpu_limit": 1}, "cannot start a\0b: embedded null byte"),
        ([sys.executable], {"cpu_limit": 0}, "cpu_limit must be more than 0, not 0"),
        ([sys.executable], {"memory_limit": -1}, "memory_limit must be more than 0, not -1"),
        ([sys.executable], {"cpu_limit": 1, "cwd": "/no/dir"}, "directory not found: /no/dir"),
    ],
)
async def test_limits_that_cannot_be(
    command: list[str], settings: dict[str, Any], message: str
) -> None:
    assert await failure_of(command, **settings) == message


@pytest.mark.parametrize(
    ("platform", "settings", "message"),
    [
        ("win32", {"cpu_limit": 1}, "memory_limit and cpu_limit need a POSIX system"),
        ("win32", {"memory_limit": 1}, "memory_limit and cpu_limit need a POSIX system"),
        ("darwin", {"memory_limit": 1}, "memory_limit is not enforced by macOS; leave it out"),
    ],
)
async def test_platforms_without_limits_refuse_them(
    platform: str, settings: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcpcore_transports.stream.settings.sys.platform", platform)
    _, link = bad_link("0", **settings)
    with pytest.raises(LinkError) as caught:
        await link.run()
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("noise", "count", "excerpt"),
    [
        ("noise-bytes", 1, "\ufffd\ufffd\ufffd"),
        ("noise-long", 1, "n" * 200),
        ("noise-limit", 1, "n" * 200),
        ("noise-json", 7, "42"),
    ],
)
async def test_noise_is_told_and_skipped(noise: str, count: int, excerpt: str) -> None:
    async with bad_server(noise) as (client, _):
        assert await client.echo(a=1) == {"a": 1}
        told = client.of(Violation)
        assert len(told) == count
        assert told[0].excerpt == excerpt


async def test_a_bad_byte_costs_one_message() -> None:
    async with bad_server("bad-byte") as (client, _):
        assert await client.echo(a=1) == {"a": 1}
        assert await client.echo(a=2) == {"a": 2}
        [told, *_] = client.of(Violation)
        assert "UTF-8" in told.message


async def test_a_server_that_stops_reading_costs_each_call_its_deadline() -> None:
    async with bad_server("deaf") as (client, _):
        await client.ready()
        large = client.call("echo", {"text": "x" * 20_000_000}, timeout=0.3)
        small = client.call("echo", {"n": 1}, timeout=0.1)
        patient = client.call("echo", {"n": 1}, timeout=60.0)
        for request in (small, large):
            assert (await client.outcome(request)).reason is EndReason.TIMED_OUT
    # The end of the connection ends what still waits.
    assert (await client.outcome(patient)).reason is EndReason.CLOSED


async def test_variables_are_handed_over_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"TEST_{secrets.token_hex(4)}".upper()
    monkeypatch.setenv(name, "given")
    monkeypatch.setenv(f"{name}_2", "kept")
    text = (
        f"import os; print(os.environ.get({name!r}), os.environ.get('{name}_2'), file=sys.stderr)"
    )
    told = await failure_of(program(text), inherit_env=[name])
    assert told.endswith("  given None")


def collect(longest: int, *, lines: int = 5, size: int = 100) -> tuple[ErrorLines, list[str]]:
    told: list[str] = []
    settings = ProcessSettings(
        stderr=told.append, stderr_line=longest, stderr_tail=lines, stderr_tail_size=size
    )
    return ErrorLines(settings, "x"), told


@given(st.text(max_size=300), st.integers(4, 40), st.data())
def test_lines_do_not_depend_on_the_reads(text: str, longest: int, data: st.DataObject) -> None:
    stream = text.encode("utf-8", "surrogatepass")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    whole, expected = collect(longest)
    whole.take(stream)
    pieces, told = collect(longest)
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        pieces.take(stream[start:end])
    assert told == expected
    assert all(len(line.encode("utf-8", "replace")) <= longest * 3 for line in told)
    assert pieces.tail == whole.tail
    assert len(whole.tail) <= 5
    assert sum(map(len, whole.tail)) <= 100


def test_long_lines_are_cut_between_characters() -> None:
    lines, told = collect(7)
    lines.take("äöüßäöü€ ende\n".encode())
    assert told == ["äöü", "ßäö", "ü€ e", "nde"]
    lines.take(b"abcdefg\n")
    assert told[4:] == ["abcdefg"]
    lines.take(b"\x80" * 14 + b"\n")
    assert "".join(told[5:]) == "\ufffd" * 14


def test_what_is_kept_of_it_is_bounded() -> None:
    lines, told = collect(1 << 20, lines=3, size=10)
    lines.take(b"one\ntwo\nthree\nfour\n")
    assert list(lines.tail) == ["three", "four"]
    lines.take(b"x" * 1000 + b"\n")
    assert list(lines.tail) == ["x" * 10]
    assert len(told[-1]) == 1000
    none, _ = collect(100, lines=0)
    none.take(b"one\n")
    assert list(none.tail) == []


async def test_a_link_can_be_made_again_from_the_same_settings() -> None:
    settings = ProcessSettings(stderr="discard")
    _, first = bad_link("0")
    for _ in range(2):
        client = Caller(make_client(Negotiation.LEGACY))
        client.link = link = ProcessLink(client.peer, client, first.command, settings=settings)
        async with anyio.create_task_group() as tasks:
            await tasks.start(link.run)
            client.begin()
            assert await client.echo(a=1) == {"a": 1}
            await link.aclose()
