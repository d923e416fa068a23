"""The programs of others that the kit is run against: both lines of the official Python SDK."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from mcpcore.spec.revisions import LATEST, LATEST_LEGACY, LEGACY, REVISIONS, Revision
from mcpcore_conformance.kit.model import Binding, Side

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / "conformance" / "interop" / "sdk"
OVER_STDIO = ROOT / "conformance" / "peers" / "over_stdio.py"
EVERYTHING = "examples/servers/everything-server/mcp_everything_server/server.py"
CLIENT = ".github/actions/conformance/client.py"
NEWER, OLDER = "57394b0548d1e2dc2dce8d67d84985769df3b8bb", "v1.29.0"
"""What of the SDK's repository its own programs were taken from."""
DATES = "2026-08-20 (2.x) and 2026-07-28 (1.x)"
PORT = "{port}"
"""Stands in a command for the port to listen on."""


NEWEST = (LATEST_LEGACY, LATEST)
"""Of each era: where a client is met over stdio."""
ENDS = (REVISIONS[0], LATEST_LEGACY)
"""The revision that HTTP+SSE belongs to, and the newest that can be spoken over it."""


class Peer(Struct, frozen=True):
    """A program: what it is built on, which side it is, how it is started."""

    line: str
    version: str
    side: Side
    binding: Binding
    command: tuple[str, ...]
    revisions: tuple[Revision, ...]
    own: str = ""
    """What the SDK calls it, if it is a program of the SDK itself; empty: it is one of ours."""

    @property
    def name(self) -> str:
        """For the table."""
        return " ".join(filter(None, (self.line, self.own, self.side, "over", self.binding)))

    @property
    def file(self) -> str:
        """Where its results are kept."""
        return f"{self.name.replace(' ', '-')}.json"

    @property
    def there(self) -> bool:
        """Whether its environment is installed (make sdk)."""
        return Path(self.command[0]).exists()


class _Line(Struct, frozen=True):
    """A line of the SDK."""

    name: str
    version: str
    environment: str
    programs: str
    revisions: Sequence[Revision]

    def peer(
        self,
        side: Side,
        binding: Binding,
        command: Sequence[str | Path],
        own: str = "",
        revisions: Sequence[Revision] = (),
    ) -> Peer:
        """Make a program of this line, to be met in all its revisions or in these."""
        python = ROOT / self.environment / "bin" / "python"
        words = (str(python), *map(str, command))
        met = tuple(revisions or self.revisions)
        return Peer(self.name, self.version, side, binding, words, met, own)


_LINES = (
    _Line("2.x", "2.3.0", ".venv-sdk", "sdk2", REVISIONS),
    _Line("1.x", "1.30.0", ".venv-sdk1", "sdk1", LEGACY),
)


def _built() -> Iterator[Peer]:
    for line in _LINES:
        server = PROGRAMS / f"{line.programs}_server.py"
        client = PROGRAMS / f"{line.programs}_kit_client.py"
        yield line.peer(Side.SERVER, Binding.HTTP, (server, "--http", "127.0.0.1:0"))
        yield line.peer(Side.SERVER, Binding.STDIO, (server, "--stdio"))
        yield line.peer(Side.SERVER, Binding.SSE, (server, "--sse", "127.0.0.1:0"), "", ENDS)
        yield line.peer(Side.CLIENT, Binding.HTTP, (client,))
        newest = [each for each in NEWEST if each in line.revisions]
        yield line.peer(Side.CLIENT, Binding.STDIO, (client,), "", newest)
        yield line.peer(Side.CLIENT, Binding.SSE, (client,), "", ENDS)


PEERS = tuple(_built())
"""Programs of this project, built on the SDK."""


def own_programs(sources: Path) -> Sequence[Peer]:
    """The SDK's own programs; ``sources`` has its repository as ``2.x`` and as ``1.x``."""
    found = []
    for line in _LINES:
        tree = sources / line.name
        server = (tree / EVERYTHING, "--port", PORT, "--log-level", "CRITICAL")
        found.append(line.peer(Side.SERVER, Binding.HTTP, server, "everything"))
        lines = (OVER_STDIO, tree / EVERYTHING)
        found.append(line.peer(Side.SERVER, Binding.STDIO, lines, "everything"))
        found.append(line.peer(Side.CLIENT, Binding.HTTP, (tree / CLIENT,), "conformance"))
    return found
