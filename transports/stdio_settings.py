"""How a server uses its standard input and output."""

from msgspec import Struct, field

from mcpcore.spec.bounds import check_numbers
from transports.pump_settings import PumpSettings


class StdioSettings(Struct, frozen=True, kw_only=True):
    """How standard input and output are used."""

    pump: PumpSettings = field(default_factory=PumpSettings)
    redirect: bool = True
    """Guard descriptors 0 and 1 against everybody else while serving."""
    signals: bool = True
    """SIGTERM and SIGINT end the link in good order; a second one ends it at once."""
    linger: float | None = 0.2
    """A whole program (``run``, the command) that serves nothing else exits this many seconds after
    the link has ended, whatever its handlers do; None: it waits for them."""
    end_children: bool = True
    """It ends the programs that its handlers have started and left behind, too (Linux)."""

    def __post_init__(self) -> None:
        check_numbers(self, "linger")
