"""What ours imports is held against the same modules of other packages, and no others."""

import json
import subprocess
import sys

import pytest

from mcpcore_bench.load.asks import initialize
from mcpcore_bench.load.jobs import FirstReply
from mcpcore_bench.table.others import BARE, BARE_STDIO, RAW_STDIO, ROWS, SERVING

OWN = ("mcpcore", "mcpcore_transports")
PROGRAMS = "mcpcore_bench"
TOLD = "\nimport sys as s, json as j; s.stdout.write(j.dumps([*s.modules]))"
START = "from mcpcore_bench.programs.ours import main; main()"

SIDES = {
    "import": ((SERVING,), (BARE,), {"anyio", "h11", "msgspec"}),
    "start": (
        (START, "--binding", "stdio"),
        (f"{BARE_STDIO}; {RAW_STDIO}", "--io", "ready"),
        {"anyio._backends._asyncio", "msgspec"},
    ),
}
"""What is run on our side and on the bare one, with the words for it, and some of what it loads."""


def run(statement: str, *words: str) -> tuple[list[bytes], set[str]]:
    """What a fresh interpreter that is asked something replies, and what it has loaded then."""
    done = subprocess.run(
        (sys.executable, "-c", statement + TOLD, *words),
        input=initialize(1) + b"\n",
        capture_output=True,
        check=True,
    )
    *replies, told = done.stdout.splitlines()
    return replies, set(json.loads(told))


def loaded(statement: str, *words: str) -> set[str]:
    """What it has loaded beyond what it starts with and what tells it."""
    return run(statement, *words)[1] - run("")[1]


def others(modules: set[str]) -> set[str]:
    known = {*sys.stdlib_module_names, *OWN, PROGRAMS}
    return {name for name in modules if name.partition(".")[0] not in known}


@pytest.mark.parametrize("row", SIDES)
def test_both_sides_load_the_same_modules_of_other_packages(row: str) -> None:
    ours, bare, some = SIDES[row]
    assert others(loaded(*bare)) == others(loaded(*ours))
    assert some <= others(loaded(*bare))


@pytest.mark.parametrize("row", SIDES)
def test_the_bare_side_loads_nothing_that_ours_does_not(row: str) -> None:
    ours, bare, _ = SIDES[row]
    found = loaded(*ours)
    more = loaded(*bare) - found
    assert {name for name in more if name.partition(".")[0] != PROGRAMS} == set()
    assert {name for name in OWN if name in found} == set(OWN)


def test_both_sides_of_a_start_reply() -> None:
    for side in SIDES["start"][:2]:
        replies, _ = run(*side)
        assert [json.loads(reply)["id"] for reply in replies] == [1]


def test_what_a_start_is_held_against_is_the_bare_side() -> None:
    row = next(row for row in ROWS if row.name == "start")
    job = row.variants["bare"].job()
    assert isinstance(job, FirstReply)
    assert job.server.words[1:] == ("-c", *SIDES["start"][1])
