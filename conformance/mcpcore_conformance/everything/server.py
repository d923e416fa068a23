"""The reference server: every feature of the protocol, in every revision.

``python -m mcpcore_conformance.everything.server [--stdio] [--http HOST:PORT] [--ws HOST:PORT]
[--sse HOST:PORT] [--tcp HOST:PORT] [--unix PATH]``; without a binding it serves on standard input
and output.  ``--revision NAME`` restricts it to revisions.  The variable MCP_CONFORMANCE_PAGE_SIZE
makes the pages of its lists smaller, so that there are several of them.  Where the variables
MCP_CONFORMANCE_AUTH_ISSUER and so on tell of an authorization server, it lets in only who has a
token of it (HTTP).  What it offers follows the official suite's fixture; the first tool takes no
arguments.
"""

import argparse
import logging
import os
import sys
from importlib import import_module

from mcpcore import HttpServerSettings, RuntimeSettings, ServeSettings, parse_revisions, run
from mcpcore.spec.revisions import REVISIONS
from mcpcore_conformance.everything.app import server
from mcpcore_conformance.kit.tokens import ISSUER_VARIABLE

__all__ = ["main", "server"]

# What is declared first is listed first.
for part in ("tools", "questions", "tasks", "reading", "skills", "apps"):
    import_module(f"mcpcore_conformance.everything.{part}")


def main() -> int:
    """Serve on the bindings that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stdio", action="store_true", help="standard input and output")
    parser.add_argument("--http", metavar="HOST:PORT", action="append", default=[])
    parser.add_argument("--ws", metavar="HOST:PORT", action="append", default=[])
    parser.add_argument("--sse", metavar="HOST:PORT", action="append", default=[])
    parser.add_argument("--tcp", metavar="HOST:PORT", action="append", default=[])
    parser.add_argument("--unix", metavar="PATH", action="append", default=[])
    parser.add_argument("--revision", metavar="NAME", action="append", default=[])
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    guard = None
    if ISSUER_VARIABLE in os.environ:
        # not needed by most, and slow to import
        from mcpcore_conformance.everything.guard import guard_of

        guard = guard_of(os.environ)

    def announce(url: str) -> None:
        print(f"listening on {url}", file=sys.stderr, flush=True)

    try:
        revisions = parse_revisions(chosen.revision) or REVISIONS
        run(
            server,
            stdio=chosen.stdio,
            http=chosen.http,
            ws=chosen.ws,
            sse=chosen.sse,
            tcp=chosen.tcp,
            unix=chosen.unix,
            settings=ServeSettings(
                runtime=RuntimeSettings(revisions=revisions),
                http_link=HttpServerSettings(authenticate=guard),
            ),
            on_listening=announce,
        )
    except (OSError, ValueError) as error:
        parser.exit(1, f"error: {error}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
