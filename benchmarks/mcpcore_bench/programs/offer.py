"""What every measured server offers: the same tools, with the same arguments and results.

``echo(text)`` says it again; ``total(items)`` adds up structured items; ``wait(milliseconds)``
answers late; ``events(count, together)`` reports progress, each step when the one before it has
left, or all of them at once.  ``tool_0``, ``tool_1``, ... fill a list up to the length asked for.

This module imports the standard library alone: it is used in every environment.
"""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl

FILLERS_FROM = 4
"""So many tools are there before any fillers."""
AUDIENCE = "http://127.0.0.1/mcp"
"""Resource that access tokens are for."""
DESCRIPTION = "Repeats a text so many times: tool number {number}, which only fills the list."


def arguments(*options: str) -> argparse.Namespace:
    """Read the command line of a program; ``options``: the names of those that it has itself."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--binding", default="http")
    parser.add_argument("--tools", type=int, default=FILLERS_FROM, help="length of the list")
    parser.add_argument("--path", default="", help="of a Unix socket")
    parser.add_argument("--cert", default="", help="PEM file of certificate and key: serve TLS")
    for option in options:
        parser.add_argument(f"--{option}", default="")
    return parser.parse_args()


def secured(cert: str) -> "ssl.SSLContext | None":
    """What serves TLS with a certificate, if there is one; as Python has it by default."""
    if not cert:
        return None
    import ssl  # here and not above: whoever starts without it is measured, too

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert)
    return context


def fillers(count: int) -> list[tuple[str, str]]:
    """Names and descriptions of the tools that fill a list up to ``count``."""
    numbers = range(max(count - FILLERS_FROM, 0))
    return [(f"tool_{number}", DESCRIPTION.format(number=number)) for number in numbers]
