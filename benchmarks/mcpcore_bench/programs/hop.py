"""Our gateway, by its public API, before a server of ours.

``--upstream URL``, or ``stdio`` for processes of its own; ``--servers N``: before so many that are
all this one, each under a name of its own; ``--naming never``: with tools named as if it were one;
``--ttl SECONDS``: lists are kept so long.  ``--driver`` as of :mod:`mcpcore_bench.programs.ours`.
"""

import sys

from mcpcore import Gateway, GatewaySettings, Naming, RelaySettings, StdioTarget, run
from mcpcore_bench.programs.offer import arguments
from mcpcore_bench.programs.ours import MANY, announce, settings, with_uvloop

STDIO = (sys.executable, "-m", "mcpcore_bench.programs.ours", "--binding", "stdio")


def main() -> None:
    """Serve as the command line says."""
    chosen = arguments("driver", "upstream", "servers", "naming", "ttl")
    target = StdioTarget(STDIO) if chosen.upstream == "stdio" else chosen.upstream
    relay = RelaySettings(
        naming=Naming.NEVER if chosen.naming == "never" else None,
        list_ttl=float(chosen.ttl or 0),
        links=MANY,
        links_per_principal=MANY,
    )
    if chosen.driver == "speed":
        with_uvloop()
    run(
        Gateway(
            {f"server{number}": target for number in range(int(chosen.servers or 1))},
            settings=GatewaySettings(relay=relay),
        ),
        http="127.0.0.1:0",
        settings=settings(chosen.driver),
        on_listening=announce,
    )


if __name__ == "__main__":
    main()
