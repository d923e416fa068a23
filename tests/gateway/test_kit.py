"""The conformance kit through a gateway: no verdict changes but those that are listed."""

from collections.abc import Iterator
from contextlib import ExitStack
from fnmatch import fnmatch

import pytest

from conformance.gateway.__main__ import CLIENT, CLIENTS, COMMANDS, ROWS, Start, compare, expected
from mcpcore_conformance.kit.model import Side
from mcpcore_conformance.run.registry import all_cases
from tests.shares import Some
from tests.warm import CLIENT as CLIENT_MODULES
from tests.warm import SERVER, warm_program


@pytest.fixture(scope="module")
def start() -> Iterator[Start]:
    """Programs of the rows, but for their start."""
    gateway = ("mcpcore_transports.gateway.gateway", *SERVER, *CLIENT_MODULES)
    with ExitStack() as stack:
        words = {
            module: stack.enter_context(warm_program((module, *gateway)))
            for module in (COMMANDS, *CLIENTS)
        }
        yield words.__getitem__


@pytest.mark.long
@pytest.mark.parametrize("row", ROWS)
def test_verdicts_are_those_of_the_server_itself(row: str, some: Some, start: Start) -> None:
    """With ``--repetitions`` each row has half such a share, another one than the others."""
    few = Some(some.share if some.share == 1 else 2 * some.share)
    side = Side.CLIENT if row.startswith(CLIENT) else Side.SERVER
    cases = [case for case in all_cases() if case.side is side]
    assert compare(row, [case.id for case in few(cases, lambda case: row + case.id)], start) == 0


def test_the_list_of_differences() -> None:
    listed = expected()
    for of_client in (False, True):
        reasons = [each for each in listed if each.row.startswith(CLIENT) is of_client]
        assert len(reasons) <= 15
    cases = {case.id for case in all_cases()}
    for each in listed:
        assert each.clause
        assert each.reason
        assert any(fnmatch(row, each.row) for row in ROWS)
        assert each.cases
        assert cases.issuperset(each.cases)
