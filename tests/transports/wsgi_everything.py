"""The reference server behind WSGI: ``-m tests.transports.wsgi_everything --http HOST:PORT``.

Announces itself as every reference program does; Werkzeug's server serves it, in a thread for each
connection, until a signal.
"""

import logging
import sys

from werkzeug.serving import WSGIRequestHandler, make_server

from mcpcore import HttpSettings, ServeSettings, wsgi_app
from mcpcore_conformance.everything.server import server


def main() -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    host, _, port = sys.argv[2].rpartition(":")
    WSGIRequestHandler.protocol_version = "HTTP/1.1"
    # Such a server finds out that a client has left when it writes to it.
    settings = ServeSettings(http=HttpSettings(heartbeat=0.2))
    http = make_server(host, int(port), wsgi_app(server, settings=settings), threaded=True)
    print(f"listening on http://{host}:{http.port}/mcp", file=sys.stderr, flush=True)
    http.serve_forever()


if __name__ == "__main__":
    main()
