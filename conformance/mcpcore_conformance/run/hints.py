"""What may help where nothing was heard of a program: what was found, and what to try."""

import re
from collections.abc import Iterable, Sequence

from mcpcore_conformance.kit.model import Binding

_STARTING = (
    (
        "cannot be started: no such file",
        "is the command spelled right, and where programs are looked for (PATH, --cwd DIR)?",
    ),
    (
        "cannot be started: (permission denied|exec format error)",
        "may it be run (chmod +x), or does it need its interpreter, as in -- python FILE?",
    ),
)
_OF_SERVERS = (
    *_STARTING,
    (
        "process ended with status 0",
        "it is to serve until its standard input ends: does it need an option for that, such as"
        " --stdio, or does it serve elsewhere, at an address?",
    ),
    (
        r"process ended with status -\d+",
        "a signal has ended it: does it run by itself, with the same words and --env, --cwd?",
    ),
    (
        "process ended with status",
        "it has failed before it answered: does it run by itself, with the same words and --env,"
        " --cwd?",
    ),
    ("certificate is not trusted", "--cacert FILE names the authority that has signed it"),
    (
        "no TLS: (wrong version number|record layer failure)",
        "it answers, and not with TLS: http:// in the place of https:// (ws://, tcp://)?",
    ),
    ("no TLS: ", "does it want a certificate of its clients (--cert FILE, --key FILE)?"),
    (
        "(connection refused|no such file or directory)",
        "nobody listens there: does the server run, and is that its address?",
    ),
    (
        "(name or service not known|name resolution|no address associated|nodename nor servname)",
        "is the name of the host right?",
    ),
    (
        "before the endpoint event",
        "that is no event stream of HTTP+SSE: is the path right, such as /sse, or is it a server"
        " over Streamable HTTP (http://, without sse+)?",
    ),
)
_OF_CLIENTS = (
    *_STARTING,
    (
        "did not connect.*: it is running",
        "it was started with the address of a server as its last argument, and was not heard there:"
        " does it connect to that, and is --transport right? One that is slow to start gets more"
        " time by --timeout SECONDS",
    ),
    (
        "did not connect.*: it has ended with status 0",
        "it is to connect to the server whose address is its last argument: does it do that by"
        " itself, and is --transport right?",
    ),
    (
        "did not connect.*: it has ended",
        "it has failed before it connected: does it run by itself, with the same words, an address"
        " behind them, and --env, --cwd?",
    ),
    (
        "did not initialize",
        "it has connected, and its first message was neither initialize nor a request with the"
        " version in its _meta: is the address taken as it is, with its path?",
    ),
)
_WITHHELD = (
    "what it wrote came when its input had ended, and not before: it has to flush its output after"
    " each message (print(..., flush=True), python -u), and to read its input line by line. One"
    " that is slow to start gets more time by --timeout SECONDS"
)
_QUIET = (
    "it was started, goes on, and writes nothing to its standard output: is that flushed after each"
    " message (print(..., flush=True), python -u), is its input read line by line, does it need an"
    " option to serve over stdio? One that is slow to start gets more time by --timeout SECONDS"
)
_MUTE = (
    "it takes connections and says nothing: is it a server of that kind? One that is slow gets more"
    " time by --timeout SECONDS"
)


def hint(binding: Binding, problems: Iterable[str], *, silent: bool, withheld: bool = False) -> str:
    """What may help with a server that was not heard; empty if nothing is known that does.

    ``silent``: it was started, or took the connection, and said nothing; ``withheld``: until its
    input had ended.
    """
    # what the program itself has said is for its author to read
    said = "\n".join(each for each in problems if not each.startswith("standard error:"))
    found = _first(_OF_SERVERS, said)
    if found or not silent:
        return found
    if binding is not Binding.STDIO:
        return _MUTE
    return _WITHHELD if withheld else _QUIET


def hint_of_client(problems: Iterable[str]) -> str:
    """What may help with a client that was not heard; empty if nothing is known that does."""
    return _first(_OF_CLIENTS, "\n".join(problems))


def _first(hints: Sequence[tuple[str, str]], said: str) -> str:
    return next((text for pattern, text in hints if re.search(pattern, said)), "")
