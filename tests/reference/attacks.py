"""The page reference/attacks.md: each attack on authorization, what must happen, and its test."""

from collections.abc import Iterable, Iterator

from tests.auth import test_client_attacks, test_server_attacks
from tests.auth.attacks import CLIENT, SERVER, Shown
from tests.reference.sources import ROOT, table
from tests.transports.auth import test_connect_attacks, test_refused_everywhere

NAME = "attacks.md"
HEAD = """# Attacks on authorization

Attacks that clients and servers withstand, each a test that fails if one succeeds. Who attacks
whom, and what is trusted: [the threat model](../explanation/authorization.md#the-threat-model).
"""


def render() -> str:
    """Return the page."""
    lines = [HEAD]
    for title, rows in (("On a client", client()), ("On a server", server())):
        lines += [f"## {title}", ""]
        cells = (
            (str(row.number), _cell(row.name), _cell(row.must), _tests(row)) for row in sorted(rows)
        )
        lines += table(("Number", "Attack", "What must happen", "Test"), cells)
    return "\n".join(lines)


def client() -> list[Shown]:
    """Return the attacks on a client."""
    pure = (Shown(row.number, row.name, row.must, _PURE_CLIENT, ()) for row in _CLIENT_ROWS)
    sites = ((name, _said(why)) for name, (_, why) in test_connect_attacks.ROWS.items())
    file = _file(test_connect_attacks.__file__)
    return [*pure, *_numbered(sites, "by connect()", file), *CLIENT]


def server() -> list[Shown]:
    """Return the attacks on a server."""
    pure = (Shown(row.number, row.name, row.must, _PURE_SERVER, ()) for row in _SERVER_ROWS)
    rows = test_refused_everywhere.ROWS.items()
    refused = ((name, f"401: {fault.value}") for name, (_, fault) in rows)
    file = _file(test_refused_everywhere.__file__)
    return [*pure, *_numbered(refused, "on every binding", file), *SERVER]


def _numbered(rows: Iterable[tuple[str, str]], where: str, file: str) -> Iterator[Shown]:
    """Make rows of names that begin with their number."""
    for name, must in rows:
        number, _, text = name.partition(" ")
        yield Shown(int(number), f"{text}, {where}", must, file, ())


def _said(why: str) -> str:
    return f"no token; the error says: {why}"


def _file(path: str) -> str:
    return path.removeprefix(f"{ROOT}/")


_CLIENT_ROWS, _PURE_CLIENT = test_client_attacks.ROWS, _file(test_client_attacks.__file__)
_SERVER_ROWS, _PURE_SERVER = test_server_attacks.ROWS, _file(test_server_attacks.__file__)


def _tests(row: Shown) -> str:
    return "<br>".join([f"`{row.file}`", *(f"`{name}`" for name in row.tests)])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
