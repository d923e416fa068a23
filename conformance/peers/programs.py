"""The programs of others that the kit is run against: both lines of the official Python SDK."""

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from conformance.kit.model import Binding, Side
from mcpcore.spec.revisions import LEGACY, REVISIONS, Revision

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / "conformance" / "interop" / "sdk"


class Peer(Struct, frozen=True):
    """A program: what it is built on, which side it is, how it is started."""

    line: str
    version: str
    side: Side
    binding: Binding
    command: tuple[str, ...]
    revisions: tuple[Revision, ...]

    @property
    def name(self) -> str:
        """For the table."""
        return f"{self.line} {self.side} over {self.binding}"

    @property
    def there(self) -> bool:
        """Whether its environment is installed (make sdk)."""
        return Path(self.command[0]).exists()


def _peers() -> Sequence[Peer]:
    lines = (
        ("2.x", "2.3.0", ".venv-sdk", "sdk2", REVISIONS),
        ("1.x", "1.30.0", ".venv-sdk1", "sdk1", LEGACY),
    )
    return [
        Peer(
            line,
            version,
            side,
            binding,
            (str(ROOT / folder / "bin" / "python"), str(PROGRAMS / f"{programs}_{program}.py")),
            tuple(revisions),
        )
        for line, version, folder, programs, revisions in lines
        for side, binding, program in (
            (Side.SERVER, Binding.HTTP, "server"),
            (Side.SERVER, Binding.STDIO, "server"),
            (Side.CLIENT, Binding.HTTP, "kit_client"),
        )
    ]


PEERS = tuple(_peers())
