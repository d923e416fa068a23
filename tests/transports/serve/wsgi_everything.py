"""The reference server behind WSGI: ``-m tests.transports.serve.wsgi_everything [NAME] ...``.

Announces itself as every reference program does; Werkzeug's server serves it, in a thread for each
connection, until a signal.  NAME: ``flask`` or ``django``, whose program on the how-to page it is.
"""

import logging
import sys
from types import SimpleNamespace
from typing import Any
from wsgiref.types import WSGIApplication

from werkzeug.serving import WSGIRequestHandler, make_server

from mcpcore import HttpSettings, ServeSettings, wsgi_app
from mcpcore_conformance.everything.server import server
from tests.docs.blocks import DOCS, programs


def serve(site: WSGIApplication, path: str) -> None:
    """Serve until a signal; the server is at a path of the site."""
    host, _, port = sys.argv[-1].rpartition(":")
    http = make_server(host, int(port), site, threaded=True)
    print(f"listening on http://{host}:{http.port}{path}", file=sys.stderr, flush=True)
    http.serve_forever()


def main() -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    WSGIRequestHandler.protocol_version = "HTTP/1.1"
    # Such a server finds out that a client has left when it writes to it.
    app = wsgi_app(server, settings=ServeSettings(http=HttpSettings(heartbeat=0.2)))
    if sys.argv[1].startswith("-"):
        serve(app, "/mcp")
    beside: Any = {"calculator": {"app": app}, "talking": {"try_out": serve}}
    sys.modules.update({name: SimpleNamespace(**members) for name, members in beside.items()})
    page = programs(DOCS / "how-to" / "wsgi.md")
    (program,) = (each for each in page if f"from {sys.argv[1]}" in each.source)
    exec(program.source, {})


if __name__ == "__main__":
    main()
