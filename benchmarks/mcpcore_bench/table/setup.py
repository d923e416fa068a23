"""The rows about opening connections, each for one request."""

from mcpcore_bench.load.jobs import Era, Setup
from mcpcore_bench.rows import Bound, Row, at
from mcpcore_bench.subjects import SUBJECTS
from mcpcore_bench.table.http import OURS, PEERS


def _setup(name: str, title: str, era: Era, *peers: str, later: str) -> Row:
    """``later``: the peer that the table has since others were there."""

    def job(name: str) -> Setup:
        # The SDKs want both types in Accept, and choose by their settings.
        own = name.startswith(("ours", "raw"))
        server = SUBJECTS[name].command()
        return Setup(server=server, era=era, replies="json" if own else "any")

    return Row(
        name=name,
        title=title,
        unit="µs of CPU a connection",
        variants={
            **at(job, *OURS, "raw-anyio", "raw-protocol", "raw-httptools", *peers),
            **at(job, later, since=PEERS),
        },
        bounds=(
            Bound("ours-anyio", "raw-anyio"),
            Bound("ours-asyncio", "raw-protocol"),
            Bound("ours-speed", "raw-httptools"),
            *(Bound("ours-asyncio", peer) for peer in (*peers, later) if peer != "sdk-best"),
            Bound("ours-speed", "sdk-best"),
        ),
        goal=False,
    )


ROWS = (
    _setup(
        "setup",
        "A connection with one request, over HTTP",
        "modern",
        "sdk",
        "sdk-best",
        "fastmcp",
        later="typescript2",
    ),
    _setup(
        "setup-legacy",
        "A connection with a session, which stays, and one request, over HTTP",
        "legacy",
        "sdk",
        "sdk-best",
        "fastmcp",
        "typescript",
        later="typescript2-sessions",
    ),
)
