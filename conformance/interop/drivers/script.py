"""What a program that drives one client does: read its orders, connect, drive, print outcomes."""

import argparse
import json
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Protocol

import anyio

from conformance.interop.drivers.caller import Caller
from conformance.interop.drivers.features import PATIENCE, Cell, drive

Target = str | list[str]
"""A URL, or the command of a server on stdio."""


class Open(Protocol):
    """Connects to ``target``.

    ``facts`` are the flags of the revision; ``automatic``: the client finds the revision without
    being told; ``bare``: it declares no capabilities.
    """

    def __call__(
        self, target: Target, facts: Mapping[str, Any], *, automatic: bool, bare: bool
    ) -> AbstractAsyncContextManager[Caller]:
        """Open a connection for the time of a block."""
        ...


def main(open_caller: Open) -> int:
    """Drive the server that the command line names; one line of JSON for each feature."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--facts", type=json.loads, required=True, help="flags of the revision")
    parser.add_argument("--rounds", type=json.loads, required=True, help="feature to rounds")
    parser.add_argument(
        "--automatic", action="store_true", help="find the revision without being told"
    )
    parser.add_argument("--patience", type=float, default=PATIENCE, metavar="SECONDS")
    parser.add_argument("target", nargs="+", help="a URL, or -- and the command of a stdio server")
    chosen = parser.parse_args()
    words: list[str] = chosen.target
    target: Target = words[0] if "://" in words[0] else words
    connect = partial(open_caller, target, chosen.facts, automatic=chosen.automatic)
    anyio.run(_run, connect, chosen.rounds, chosen.patience)
    return 0


async def _run(
    connect: Callable[..., AbstractAsyncContextManager[Caller]],
    rounds: Mapping[str, int],
    patience: float,
) -> None:
    def tell(cell: Cell) -> None:
        print(cell.line(), flush=True)

    async with connect(bare=False) as caller:
        caller.another = partial(connect, bare=False)
        caller.bare = partial(connect, bare=True)
        await drive(caller, rounds, tell, patience)
