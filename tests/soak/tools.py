"""The server of the soak: the workbench, and tools that can be called without leaving anything."""

import sqlite3

import anyio
from msgspec import json

from mcpcore.service import Server
from mcpcore_transports.server.context import Context
from tests.bindings.workbench import make_workbench
from tests.faults.holdings import kept

COUNTED = "notifications/acme/counted"


class Tally:
    """Counts by a word, in this process or in all that share a file; what is 0 is forgotten."""

    def __init__(self, path: str) -> None:
        self._link = sqlite3.connect(path, timeout=60.0, isolation_level=None)
        self._link.execute("PRAGMA synchronous = OFF")
        self._link.execute("CREATE TABLE IF NOT EXISTS tally (word PRIMARY KEY, count)")

    def add(self, word: str, count: int) -> None:
        """Count so many more, or fewer."""
        self._link.execute(
            "INSERT INTO tally VALUES (?1, ?2) ON CONFLICT DO UPDATE SET count = count + ?2",
            (word, count),
        )
        self._link.execute("DELETE FROM tally WHERE word = ? AND count = 0", (word,))

    def of(self, word: str) -> int:
        """How many there are."""
        row = self._link.execute("SELECT count FROM tally WHERE word = ?", (word,)).fetchone()
        return 0 if row is None else int(row[0])


def make_server(tally: str = ":memory:") -> Server:
    """Make the server, which counts in a file. It is to be used on one event loop only."""
    server = make_workbench()
    counted = Tally(tally)

    @server.tool
    async def stay(case: str, context: Context) -> str:
        """Stay until cancelled."""
        counted.add(f"stay {case}", 1)
        context.progress(0)
        try:
            await anyio.sleep_forever()
        finally:
            counted.add(f"stay {case}", -1)
        return "never"

    @server.tool(structured_output=False)
    def staying(case: str) -> int:
        """Count the calls of ``stay`` of a case."""
        return counted.of(f"stay {case}")

    @server.tool(structured_output=False)
    def notes(case: str, forget: bool = False) -> int:
        """Count what has been noted for a case."""
        found = counted.of(f"note {case}")
        if forget:
            counted.add(f"note {case}", -found)
        return found

    @server.tool
    def whoami(context: Context) -> str:
        """Tell who asks."""
        return str(context.principal or "nobody")

    @server.tool(name="kept", structured_output=False)
    def tell_kept() -> str:
        """Tell what the process of the server keeps, as JSON."""
        return json.encode(kept()).decode()

    @server.notification(COUNTED)
    def note_down(case: str) -> None:
        counted.add(f"note {case}", 1)

    return server
