"""The row about TLS: what encrypting adds, on connections that are there already."""

from mcpcore_bench.load.jobs import HttpCalls, WebSocketCalls
from mcpcore_bench.rows import Bound, Row, at
from mcpcore_bench.subjects import SUBJECTS
from mcpcore_bench.table.http import CALL, OTHERS

_CERTIFICATE = ("--cert", "{cert}")


def _https(name: str) -> HttpCalls:
    server = SUBJECTS[name].command(*_CERTIFICATE)
    return HttpCalls(server=server, replies="any", seconds=0.6)


def _wss(name: str) -> WebSocketCalls:
    return WebSocketCalls(server=SUBJECTS[name].command(*_CERTIFICATE), seconds=0.6)


ROWS = (
    Row(
        name="tls",
        title="tools/call over TLS 1.3, https and wss, 16 in flight",
        unit=CALL,
        variants={
            **at(
                _https,
                "ours-asyncio-tls",
                "ours-speed-tls",
                "raw-protocol-tls",
                "raw-httptools-tls",
                "sdk-tls",
                since=OTHERS,
            ),
            **at(_wss, "ours-wss", "raw-wss-streams", "websockets-tls", since=OTHERS),
        },
        bounds=(
            Bound("ours-asyncio-tls", "raw-protocol-tls"),
            Bound("ours-speed-tls", "raw-httptools-tls"),
            Bound("ours-asyncio-tls", "sdk-tls"),
            Bound("ours-wss", "raw-wss-streams"),
            Bound("ours-wss", "websockets-tls"),
        ),
        goal=False,
        note="All have the same certificate and the settings of Python's `ssl`, ours those of "
        "`mcpcore_transports.tls`; connections are there before anything is measured.",
    ),
)
