"""The reference server: every feature of the protocol, in every revision.

``python -m mcpcore_conformance.everything.server [--stdio] [--http HOST:PORT] [--ws HOST:PORT]
[--sse HOST:PORT] [--tcp HOST:PORT] [--unix PATH]``; without a binding it serves on standard input
and output.  ``--revision NAME`` restricts it to revisions; with ``--token SECRET`` it lets in only
who has one of these bearer tokens (HTTP).  The variable MCP_CONFORMANCE_PAGE_SIZE makes the pages
of its lists smaller, so that there are several of them.  What it offers follows the official
suite's fixture; the first tool takes no arguments.
"""

import argparse
import logging
import sys
from contextlib import ExitStack
from importlib import import_module

from mcpcore import HttpServerSettings, RuntimeSettings, ServeSettings, parse_revisions, run
from mcpcore.spec.revisions import REVISIONS
from mcpcore_conformance.everything.app import server

__all__ = ["main", "server"]

# What is declared first is listed first.
for part in ("tools", "questions", "tasks", "reading"):
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
    parser.add_argument("--token", metavar="SECRET", action="append", default=[])
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    with ExitStack() as stack:
        metadata = guard = None
        if chosen.token:
            # not needed by most, and slow to import
            from mcpcore_conformance.everything.guard import guarded_by, metadata_server

            metadata = stack.enter_context(metadata_server())
            guard = guarded_by(frozenset(chosen.token), metadata)

        def announce(url: str) -> None:
            if metadata is not None:
                metadata.resource = metadata.resource or url
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
