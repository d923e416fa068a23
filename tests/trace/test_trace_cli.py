"""`mcpcore trace` and --trace, as a user types them."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from msgspec import structs

from mcpcore.trace.format import TO_SERVER, encode_line
from mcpcore_conformance.launch import serving
from mcpcore_conformance.trace.show import timeline
from mcpcore_transports.commands.main import main
from tests.clock import PATIENCE
from tests.trace.recorded import SECRET, loaded, messages, records
from tests.trace.said import (
    BUILD,
    READY,
    c,
    error,
    handshake,
    initialize,
    initialized,
    post,
    prime,
    request,
    result,
    s,
    session,
    stream,
    trace,
)
from tests.warm import PYTHON

pytestmark = pytest.mark.usefixtures("warm_programs")

MCPCORE = [*PYTHON, "-m", "mcpcore_transports.commands.main"]
SERVE = [*MCPCORE, "serve", "tests.trace.recorded"]


class Done(NamedTuple):
    """What a command came to that was run in this process."""

    returncode: int
    stdout: str
    stderr: str


Run = Callable[..., Done]


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs commands that start nothing, without a process of their own."""

    def run_here(*words: str) -> Done:
        with pytest.raises(SystemExit) as ended:
            main(words)
        said = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Done(ended.value.code, said.out, said.err)

    return run_here


def run(*words: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*MCPCORE, *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        **options,
    )


@pytest.fixture
def good(tmp_path: Path) -> str:
    return written(tmp_path / "good.jsonl", trace(handshake(), c(request("ping")), s(result())))


@pytest.fixture
def bad(tmp_path: Path) -> str:
    talk = trace(c(initialize()), s(initialized()), c(request("tools/list")))
    return written(tmp_path / "bad.jsonl", talk)


@pytest.fixture
def several(tmp_path: Path) -> str:
    """Two connections; on the second one the server is wrong."""
    talk = trace(handshake(), c(request("ping")), s(result()))
    other = trace(handshake(), c(request("ping")), s(error()))
    records = [structs.replace(each.record, connection=4) for each in other.entries]
    return written(
        tmp_path / "several.jsonl", trace([each.record for each in talk.entries], records)
    )


def written(file: Path, talk: Any) -> str:
    lines = [encode_line(talk.header), *(encode_line(each.record) for each in talk.entries)]
    file.write_bytes(b"".join(lines))
    return str(file)


# Recording


def test_serve_and_call_record(tmp_path: Path) -> None:
    theirs, ours = tmp_path / "server.jsonl", tmp_path / "client.jsonl"
    with serving([*SERVE, "--http", "127.0.0.1:0", "--trace", str(theirs)]) as (url,):
        done = run("call", "echo", "text=hi", f"api_key={SECRET}", "--trace", str(ours), url)
        assert done.stdout == "hi\n"
        listed = run("list", "tools", "--trace", str(tmp_path / "list.jsonl"), url)
        assert listed.returncode == 0
        probed = run("probe", "--trace", str(tmp_path / "probe.jsonl"), url)
        assert probed.returncode == 0
    assert [r.kind for r in messages(loaded(ours))][:2] == ["request", "result"]
    assert len(messages(loaded(theirs))) > len(messages(loaded(ours)))
    assert messages(loaded(tmp_path / "list.jsonl"))
    assert messages(loaded(tmp_path / "probe.jsonl"))


def test_probing_a_legacy_server_records_every_connection(tmp_path: Path) -> None:
    file = tmp_path / "probe.jsonl"
    done = run(
        "probe",
        "--trace",
        str(file),
        "--",
        *SERVE,
        "--stdio",
        "--revision",
        "2025-06-18",
        "--revision",
        "2025-11-25",
    )
    assert done.returncode == 0, done.stderr
    assert len(records(loaded(file), "opened")) > 2


def test_secrets_are_recorded_if_that_is_wanted(tmp_path: Path) -> None:
    file = tmp_path / "client.jsonl"
    words = ["call", "echo", "text=hi", f"api_key={SECRET}", "--trace", str(file)]
    assert run(*words, "--trace-secrets", "--", *SERVE, "--stdio").returncode == 0
    assert SECRET in file.read_text()
    assert run(*words, "--trace-size", "1K", "--", *SERVE, "--stdio").returncode == 0
    assert SECRET not in file.read_text()
    assert len(records(loaded(file), "full")) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--trace", "/nowhere/x.jsonl"], "--trace: /nowhere/x.jsonl: No such file or directory"),
        (["--trace-secrets"], "--trace-secrets is for --trace, which is not given"),
        (["--trace-size", "1M"], "--trace-size is for --trace, which is not given"),
        (["--trace", "/tmp/x.jsonl", "--trace-size", "lots"], "--trace-size: 'lots' is no size"),
    ],
)
def test_a_trace_that_cannot_be_made(here: Run, words: list[str], message: str) -> None:
    for command in (
        ["call", "echo", *words, "tcp://127.0.0.1:9"],
        ["serve", *words, "--stdio"],
    ):
        done = here(*command)
        assert done.returncode == 2
        assert message in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="workers need SO_REUSEPORT")
def test_each_worker_has_a_trace_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "server.jsonl"
    with serving([*SERVE, "--http", "127.0.0.1:0", "--workers", "2", "--trace", str(file)]) as (
        url,
    ):
        assert run("call", "echo", "text=hi", url).stdout == "hi\n"
    files = [*tmp_path.glob("server.*.jsonl")]
    assert len(files) == 2
    assert not file.exists()
    assert sum(len(messages(loaded(each))) for each in files) >= 4


# Showing


@pytest.mark.parametrize("command", ["show", "check", "replay"])
def test_each_help_has_examples_line_by_line(here: Run, command: str) -> None:
    shown = here("trace", command, "--help").stdout
    assert f"  Examples:\n    mcpcore trace {command} server.jsonl\n" in shown


def test_show(here: Run, good: str) -> None:
    done = here("trace", "show", good)
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "# recorded by the client",
        "     2   0.000000       1 -> request initialize id=0  "
        '{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":...',
        "     3   0.100000       1 <- result id=0 of initialize (line 2, 100.0 ms)  "
        '{"protocolVersion":"2025-11-25","capabilit...',
        "     4   0.200000       1 -> notification notifications/initialized",
        "     5   0.300000       1 -> request ping id=1",
        "     6   0.400000       1 <- result id=1 of ping (line 5, 100.0 ms)",
    ]
    wide = here("trace", "show", "--width", "500", good).stdout
    assert '"clientInfo":{"name":"c","version":"1"}}' in wide
    whole = here("trace", "show", "--whole", good).stdout
    assert '                              "jsonrpc": "2.0",' in whole.splitlines()


@pytest.mark.parametrize(
    "words", [("show",), ("show", "--whole"), ("check",), ("replay",)], ids=" ".join
)
def test_a_terminal_obeys_nothing_in_a_trace(
    here: Run, words: tuple[str, ...], tmp_path: Path
) -> None:
    odd = "\x1b]0;x\x07"
    talk = trace(c(request(odd, id=9)), handshake(), s(odd.encode()), s(error(id=9)))
    done = here("trace", *words, written(tmp_path / "odd.jsonl", talk))
    assert "x1b]0;x" in done.stdout
    assert "\x1b" not in done.stdout
    assert "\x07" not in done.stdout


def test_show_heads_events_and_remarks() -> None:
    cut = BUILD.message(b'{"jsonrpc":"2.0"', time=0.0, direction=TO_SERVER, dropped=9)
    odd = BUILD.note("binary", time=0.0, direction=TO_SERVER, data=b"\xff\x00")
    closed = BUILD.note("close", time=0.0, direction=TO_SERVER, data=b"bye", status=1000)
    sent = post(request("ping"), 3, mcp_session_id="abc")
    talk = trace(session(), sent, stream(prime("7"), stream=3), cut, odd, closed)
    lines = list(timeline(talk))
    assert any("3.500" not in line and "1.3 -> HTTP POST /mcp" in line for line in lines)
    assert any("1.3 <- HTTP 200" in line for line in lines)
    assert any("sse-event [event 7]" in line for line in lines)
    assert any("[9 bytes cut]" in line for line in lines)
    assert any(r"binary  b'\xff\x00'" in line for line in lines)
    assert any(line.endswith("close 1000  bye") for line in lines)
    assert list(timeline(talk, connection=2)) == lines[:1]


# Checking


def test_check(here: Run, good: str, bad: str) -> None:
    done = here("trace", "check", good)
    assert (done.returncode, done.stdout) == (0, "5 records, nothing found\n")
    done = here("trace", "check", bad)
    assert done.returncode == 1
    assert done.stdout == (
        f"{bad}:4: MUST basic/lifecycle#initialization [2025-11-25]\n"
        "  initialized: the client: tools/list before notifications/initialized\n"
        "3 records, 1 MUST\n"
    )


def test_check_as_json(here: Run, bad: str) -> None:
    done = here("trace", "check", "--json", bad)
    assert done.returncode == 1
    assert json.loads(done.stdout) == {
        "file": bad,
        "records": 3,
        "findings": [
            {
                "line": 4,
                "rule": "initialized",
                "clause": "basic/lifecycle#initialization",
                "strength": "MUST",
                "side": "client",
                "detail": "tools/list before notifications/initialized",
                "requirement": "basic/lifecycle/initialized",
                "revision": "2025-11-25",
            }
        ],
    }


def growing(file: Path, monkeypatch: pytest.MonkeyPatch, *pieces: bytes | None) -> None:
    """Let a file grow by a piece whenever more is waited for, None to empty it; then Ctrl-C."""
    left = iter(pieces)
    file.touch()

    def later(seconds: float) -> None:
        try:
            piece = next(left)
        except StopIteration:
            raise KeyboardInterrupt from None
        with file.open("wb" if piece is None else "ab") as out:
            out.write(piece or b"")

    monkeypatch.setattr(time, "sleep", later)


@pytest.mark.parametrize("at", [5, 400, -40])
def test_a_file_is_checked_as_it_grows(
    here: Run, bad: str, at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, file = Path(bad).read_bytes(), tmp_path / "grows.jsonl"
    growing(file, monkeypatch, whole[:at], whole[at:])
    done = here("trace", "check", "--follow", str(file))
    once = here("trace", "check", bad)
    assert done.stdout == once.stdout.replace(bad, str(file))
    assert (done.returncode, done.stderr) == (1, "")


def test_each_finding_is_told_when_its_line_is_whole(
    here: Run, bad: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "grows.jsonl"
    growing(file, monkeypatch, Path(bad).read_bytes(), b'{"t')
    done = here("trace", "check", "--follow", "--json", str(file))
    [line] = done.stdout.splitlines()
    assert (json.loads(line)["line"], done.returncode) == (4, 1)


def test_a_file_that_is_written_anew_is_not_followed(
    here: Run, good: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "anew.jsonl"
    growing(file, monkeypatch, Path(good).read_bytes(), None)
    done = here("trace", "check", "--follow", str(file))
    assert done.returncode == 2
    assert f"{file}: it got shorter: it was written anew" in done.stderr


def test_a_file_in_the_place_of_another_is_not_followed(
    here: Run, good: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "old.jsonl"
    file.write_bytes(Path(good).read_bytes())
    other = tmp_path / "new.jsonl"
    other.write_bytes(Path(good).read_bytes())
    monkeypatch.setattr(time, "sleep", lambda seconds: other.replace(file))
    done = here("trace", "check", "--follow", str(file))
    assert (done.returncode, "another file has taken its place" in done.stderr) == (2, True)


def test_a_pipe_is_followed_to_its_end(here: Run, bad: str) -> None:
    reading, writing = os.pipe()
    os.write(writing, Path(bad).read_bytes())
    os.close(writing)
    try:
        done = here("trace", "check", "--follow", f"/dev/fd/{reading}")
    finally:
        os.close(reading)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, "3 records, 1 MUST")


def test_what_should_be_counts_if_that_is_wanted(here: Run, tmp_path: Path) -> None:
    talk = trace(c(initialize()), c(request("tools/list")), s(initialized()), c(READY))
    file = written(tmp_path / "weak.jsonl", talk)
    assert here("trace", "check", file).returncode == 0
    assert here("trace", "check", "--strict", file).returncode == 1


@pytest.mark.parametrize("command", ["show", "check", "replay"])
def test_what_is_no_trace(here: Run, command: str, tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text("nonsense\n")
    done = here("trace", command, str(file))
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {file}: line 1: ")
    missing = here("trace", command, str(tmp_path / "missing"))
    assert missing.returncode == 2
    assert "No such file" in missing.stderr


# Replaying


def test_replay(here: Run, good: str, bad: str) -> None:
    done = here("trace", "replay", "--side", "server", good)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[:3] == [
        "     2   0.000000 -> request initialize id=0",
        "                   > result id=0",
        "                   = opening, 2025-11-25, 0 in flight, 0 pending",
    ]
    assert "                   * Ready revision=2025-11-25" in lines
    assert here("trace", "replay", "--side", "client", bad).returncode == 1
    steps = json.loads(here("trace", "replay", "--side", "server", "--json", good).stdout)
    assert [step["line"] for step in steps] == [2, 3, 4, 5, 6]


def test_replay_of_several_connections(here: Run, several: str) -> None:
    words = ("trace", "replay", "--side", "server", several)
    done = here(*words)
    headings = [line for line in done.stdout.splitlines() if line.startswith("#")]
    assert (done.returncode, headings) == (
        1,
        ["# connection 1 (1 of 2)", "# connection 4 (2 of 2)"],
    )
    assert done.stdout.startswith(headings[0])
    first, last = here(*words, "--connection", "1"), here(*words, "--connection", "4")
    assert (first.returncode, last.returncode) == (0, 1)
    assert first.stdout + last.stdout == done.stdout
    steps = json.loads(here(*words, "--json").stdout)
    assert [step["connection"] for step in steps] == [1] * 5 + [4] * 5


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ((), "conversation 1 of 2, on connection 1 (1 of 2)"),
        (("--connection", "4"), "conversation 2 of 2, on connection 4 (2 of 2)"),
        (("--conversation", "2"), "conversation 2 of 2, on connection 4 (2 of 2)"),
    ],
)
def test_it_is_said_what_is_played_against_a_peer(
    here: Run, several: str, choice: tuple[str, ...], said: str
) -> None:
    done = here("trace", "replay", several, *choice, "--against", "tcp://127.0.0.1:9")
    assert (done.returncode, done.stdout) == (3, f"# the client of {said}\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--side", "both"], "--side is client or server, not 'both'"),
        (["--conversation", "3"], "there is no conversation 3: the trace has 1"),
        (["--conversation", "3", "--stdio"], "there is no conversation 3: the trace has 1"),
        (["--stdio", "--side", "client"], "--stdio plays the server, and alone"),
        (["--http", "127.0.0.1:0", "--stdio"], "--stdio plays the server, and alone"),
        (["--ws", "127.0.0.1:0", "--side", "client"], "--ws plays the server, and alone"),
        (["--http", "nowhere"], "'nowhere' is not an address"),
        (["--connection", "2"], "there is no connection 2: the trace has 1"),
        (["--connection", "2", "--stdio"], "there is no connection 2: the trace has 1"),
        (["--against", "http://x/", "--side", "server"], "the server is played with --stdio"),
        (["--against", "http://x/", "--set", "x"], "--set: 'x' is not N=VALUE"),
        (["--against", "nobody"], "'nobody' is no URL"),
    ],
)
def test_replays_that_cannot_be(
    here: Run,
    good: str,
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    done = here("trace", "replay", *words, good)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr


def test_replay_against_a_command(tmp_path: Path) -> None:
    file = tmp_path / "client.jsonl"
    recorded = run("call", "echo", "text=hi", "--trace", str(file), "--", *SERVE, "--stdio")
    assert recorded.returncode == 0
    again = run("trace", "replay", str(file), "--", *SERVE, "--stdio")
    assert again.returncode == 0, again.stdout
    assert again.stdout.splitlines()[0] == "# the client of conversation 1 of 1"
    assert again.stdout.splitlines()[-1].endswith("heard, no difference")
    other = run("trace", "replay", str(file), "--", *MCPCORE, "serve", "--stdio")
    assert other.returncode == 1
    assert "differs: result.tools has no " in other.stdout


def test_help_says_what_there_is(here: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    done = here("trace", "--help")
    assert all(word in done.stdout for word in ("show", "check", "replay"))
    for command in ("serve", "call", "list", "probe"):
        text = here(command, "--help").stdout
        assert "--trace" in text
