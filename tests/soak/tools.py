"""The server of the soak: the workbench, and tools that can be called without leaving anything."""

from collections import Counter

import anyio

from mcpcore.service import Server
from tests.bindings.workbench import make_workbench

COUNTED = "notifications/acme/counted"


def make_server() -> Server:
    """Make the server. It is to be used on one event loop only."""
    server = make_workbench()
    waiting: Counter[str] = Counter()
    noted: Counter[str] = Counter()

    @server.tool
    async def stay(case: str) -> str:
        """Stay until cancelled."""
        waiting[case] += 1
        try:
            await anyio.sleep_forever()
        finally:
            waiting[case] -= 1
            if not waiting[case]:
                del waiting[case]
        return "never"

    @server.tool(structured=False)
    def staying(case: str) -> int:
        """Count the calls of ``stay`` of a case."""
        return waiting[case]

    @server.tool(structured=False)
    def notes(case: str, forget: bool = False) -> int:
        """Count what has been noted for a case."""
        return noted.pop(case, 0) if forget else noted[case]

    @server.notification(COUNTED)
    def counted(case: str) -> None:
        noted[case] += 1

    return server
