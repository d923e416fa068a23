"""The page reference/attacks.md: each attack on authorization, what must happen, and its test."""

from collections.abc import Iterator

from tests.auth import test_client_attacks, test_server_attacks
from tests.reference.sources import ROOT, table
from tests.transports import test_auth_attacks

NAME = "attacks.md"
HEAD = """# Attacks on authorization

Attacks that clients and servers withstand, each a test that fails if one succeeds. Who attacks
whom, and what is trusted: [the threat model](../explanation/authorization.md#the-threat-model).
"""
Row = tuple[int, str, str, str]

_CALLBACK = "tests/transports/test_auth_callback.py"
_STORES = "tests/transports/test_auth_stores.py"
_CLIENT = "tests/transports/test_auth_client.py"
_BROWSER = "tests/transports/test_auth_browser.py"
_FETCHING = "tests/transports/test_auth_fetching.py"
_SECRETS = "tests/transports/test_auth_secrets.py"
_DRIVERS: tuple[Row, ...] = (
    (14, "a callback for another path, method or Host", "refused, and waited on", _CALLBACK),
    (15, "another process has the port of the callback", "an error at once", _CALLBACK),
    (16, "floods, slow and large requests at the callback", "bounded, and waited on", _CALLBACK),
    (17, "HTML in what comes back", "a page that repeats nothing", _CALLBACK),
    (27, "a redirect of a request with a token", "the token goes nowhere", _CLIENT),
    (28, "a name with an address that is not public", "not connected to", _FETCHING),
    (28, "a private network, where no setting allows it", "not connected to", _FETCHING),
    (29, "a proxy that a header of CGI names", "not used", _FETCHING),
    (31, "a URL that a shell or a browser reads as more", "not opened", _BROWSER),
    (44, "five processes, and a server that detects reuse", "one refresh", _CLIENT),
    (51, "files of tokens that are links, of others, readable", "refused", _STORES),
    (53, "headers that authorize, beside `auth=`", "an error at once", _CLIENT),
    (60, "a server without TLS", "an error before anything is sent", _CLIENT),
    (52, "secrets in logs, errors, processes, traces", "none", _SECRETS),
    (
        59,
        "a clock that jumps, processes that crash",
        "one end",
        "tests/simulation/authorization.py",
    ),
)
"""Attacks that drivers withstand, in files without a table of their own."""


def render() -> str:
    """Return the page."""
    lines = [HEAD]
    for title, rows in (("On a client", _client()), ("On a server", _server())):
        lines += [f"## {title}", ""]
        cells = (
            (str(number), _cell(name), _cell(must), f"`{file}`")
            for number, name, must, file in sorted(rows)
        )
        lines += table(("Number", "Attack", "What must happen", "Test"), cells)
    return "\n".join(lines)


def _client() -> Iterator[Row]:
    file = _file(test_client_attacks.__file__)
    for row in test_client_attacks.ROWS:
        yield row.number, row.name, row.must, file
    for name, (_, why) in test_auth_attacks.ROWS.items():
        number, _, text = name.partition(" ")
        yield int(number), f"{text}, over sockets", why, _file(test_auth_attacks.__file__)
    yield from _DRIVERS


def _server() -> Iterator[Row]:
    for row in test_server_attacks.ROWS:
        yield row.number, row.name, row.must, _file(test_server_attacks.__file__)


def _file(path: str) -> str:
    return path.removeprefix(f"{ROOT}/")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
