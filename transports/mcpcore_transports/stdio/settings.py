"""Settings for a server on its standard input and output."""

from msgspec import Struct, field

from mcpcore.spec.bounds import check_numbers
from mcpcore_transports.stream.settings import PumpSettings


class StdioSettings(Struct, frozen=True, kw_only=True):
    """Settings for standard input and output."""

    pump: PumpSettings = field(default_factory=PumpSettings)
    redirect: bool = True
    """True to keep other code from using descriptors 0 and 1 while serving."""
    signals: bool = True
    """True if SIGTERM and SIGINT end the link gracefully; a second one ends it at once."""
    linger: float | None = 0.2
    """Seconds from the end of the link to the exit of the program, even if handlers still run.

    It applies to a whole program (``run``, the command) that serves nothing else.  None: it waits
    for the handlers.
    """
    end_children: bool = True
    """True to end also the programs that its handlers have started and left behind (Linux)."""

    def __post_init__(self) -> None:
        check_numbers(self, "linger")
