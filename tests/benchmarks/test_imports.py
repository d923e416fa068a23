"""What ours imports is held against the same modules of other packages, and no others."""

import json
import subprocess
import sys

from benchmarks.table_others import BARE, SERVING

OWN = ("mcpcore", "transports")
TOLD = "\nimport sys as s, json as j; s.stdout.write(j.dumps([*s.modules]))"


def loaded(statement: str) -> set[str]:
    """What a fresh interpreter has loaded beyond what it starts with and what tells it."""

    def modules(code: str) -> set[str]:
        done = subprocess.run(
            (sys.executable, "-c", code + TOLD), capture_output=True, text=True, check=True
        )
        return set(json.loads(done.stdout))

    return modules(statement) - modules("")


def others(modules: set[str]) -> set[str]:
    known = {*sys.stdlib_module_names, *OWN}
    return {name for name in modules if name.partition(".")[0] not in known}


def test_both_sides_load_the_same_modules_of_other_packages() -> None:
    assert others(loaded(BARE)) == others(loaded(SERVING))
    assert {"anyio", "h11", "msgspec"} <= others(loaded(BARE))


def test_the_bare_side_loads_nothing_that_ours_does_not() -> None:
    ours = loaded(SERVING)
    assert loaded(BARE) - ours == set()
    assert {name for name in OWN if name in ours} == set(OWN)
