"""A server whose tools wait for a test."""

import anyio
from msgspec import Struct

from mcpcore import Server


class Name(Struct):
    """What its tools ask for."""

    name: str


class Workshop(Server):
    """Work waits until a test lets it ``go``; the tools are those of a subclass."""

    def __init__(self) -> None:
        super().__init__("workshop")
        self.go = anyio.Event()
        self.stopped = anyio.Event()

    async def _work(self) -> str:
        try:
            await self.go.wait()
        finally:
            self.stopped.set()
        return "done"
