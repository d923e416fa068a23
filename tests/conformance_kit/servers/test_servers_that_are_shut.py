"""Servers that let nobody in, and addresses without one: what to do about it is said."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.conformance_kit.handlers import Quiet, listening
from tests.conformance_kit.run.test_run_cli import conformance

BODIES = {
    "empty": b"",
    "page": b"<html>no</html>",
    "error": b'{"jsonrpc": "2.0", "id": null, "error": {"code": -32001, "message": "no"}}',
}
HEADER = "--header 'Authorization: Bearer TOKEN'"


@contextmanager
def answering(code: int, body: bytes, **headers: str) -> Iterator[str]:
    """A server that answers everything with one status; gives its host and port."""

    class Handler(Quiet):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            kind = "application/json" if body.startswith(b"{") else "text/html"
            self.answer(code, body, {"content-type": kind, **headers})

        def do_GET(self) -> None:
            self.do_POST()

    with listening(Handler) as address:
        yield address


@pytest.mark.share(8)
@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize(
    ("url", "code", "options", "hint"),
    [
        (
            "http://{}/mcp",
            401,
            (),
            f": it answers with status 401, and wants credentials ({HEADER})",
        ),
        (
            "http://{}/mcp",
            403,
            (),
            f": it answers with status 403, and wants credentials ({HEADER})",
        ),
        (
            "http://{}/mcp",
            403,
            ("--header", "Authorization: Bearer x"),
            f": it answers with status 403, and wants other credentials ({HEADER})",
        ),
        ("http://{}", 404, (), ": it answers with status 404: is the path right, /, such as /mcp?"),
        ("http://{}/mcp", 404, (), ": it answers with status 404: is the path right, /mcp?"),
        (
            "http://{}/sse",
            405,
            ("--transport", "http"),
            ": it answers with status 405: is the path right, /sse, such as /mcp,"
            " or is it a server over HTTP+SSE (--transport sse)?",
        ),
        ("ws://{}/", 401, (), f": it answers with status 401, and wants credentials ({HEADER})"),
        ("ws://{}/", 403, (), f": it answers with status 403, and wants credentials ({HEADER})"),
        ("ws://{}/", 404, (), ": it answers with status 404: is the path right, /, such as /mcp?"),
        ("sse+http://{}/", 404, (), ": it answers with status 404: is the path right, /, such as"),
        (
            "sse+http://{}/",
            401,
            (),
            f": it answers with status 401, and wants credentials ({HEADER})",
        ),
    ],
)
def test_it_is_said_and_nothing_is_played(
    url: str, code: int, options: tuple[str, ...], hint: str, body: str
) -> None:
    with answering(code, BODIES[body]) as place:
        target = url.format(place)
        done = conformance("server", *options, "--timeout", "2", target)
    assert done.returncode == 3
    assert hint in done.stderr
    assert "failed" not in done.stdout + done.stderr


@pytest.mark.share(6)
@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize(
    ("url", "location", "hint"),
    [
        ("http://{}/mcp", "/mcp/", "points to http://{}/mcp/: give that URL"),
        ("http://{}/mcp", "mcp/v1", "points to http://{}/mcp/v1: give that URL"),
        ("http://{}/mcp", "https://there.test/mcp", "points to https://there.test/mcp: give that"),
        ("ws://{}/mcp", "/mcp/", "points to ws://{}/mcp/: give that URL"),
        ("sse+http://{}/sse", "/sse/", "points to http://{}/sse/: give that URL"),
        ("http://{}/mcp", None, "it answers with status 307: is the path right, /mcp?"),
    ],
)
def test_where_a_server_points_to_is_said(
    url: str, location: str | None, hint: str, body: str
) -> None:
    headers = {} if location is None else {"location": location}
    with answering(307, BODIES[body], **headers) as place:
        done = conformance("server", "--timeout", "2", url.format(place))
        assert hint.format(place) in done.stderr
    assert done.returncode == 3
    assert "it answers with status 307" in done.stderr
    assert "failed" not in done.stdout + done.stderr


ANSWERS: dict[str, dict[str, object]] = {
    "initialize": {
        "protocolVersion": "2025-11-25",
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "partly shut", "version": "1"},
    },
    "ping": {},
    "server/discover": {
        "supportedVersions": ["2026-07-28"],
        "capabilities": {},
        "resultType": "complete",
        "ttlMs": 0,
        "cacheScope": "private",
    },
    "tools/call": {},
    "tools/list": {
        "tools": [
            {
                "name": "look",
                "inputSchema": {"type": "object"},
                "annotations": {"readOnlyHint": True},
            }
        ]
    },
}
LISTING, CALLING, ANSWERING = (
    "server/tools/listing-tools/shape",
    "server/tools/calling-tools/result-shape",
    "basic/index/result-responses/many-in-flight",
)
BUSY = "the server takes no more requests of the kit for now (status 429)"
ANSWERED = "basic/patterns/index/request-and-response/answered-once"
SUBSCRIBING = (
    "basic/patterns/subscriptions/acknowledgment/shape",
    "basic/patterns/subscriptions/receiving-notifications/id-of-the-request",
)
CREDENTIALS = "the server wants credentials (status 401): --header gives them"
SCOPE = "the server wants another scope than the token has (status 403)"
INSUFFICIENT = 'Bearer error="insufficient_scope", scope="call"'


@contextmanager
def shut_behind(method: str, status: int, **headers: str) -> Iterator[str]:
    """A server that refuses requests of that method with a status; gives its URL."""

    class Handler(Quiet):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            said = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))))
            asked = str(said["method"])
            if "id" not in said:
                self.answer(202, b"")
            elif asked == method:
                self.answer(status, b"", headers)
            else:
                result = {"jsonrpc": "2.0", "id": said["id"], "result": ANSWERS.get(asked, {})}
                self.answer(200, json.dumps(result).encode())

    with listening(Handler) as place:
        yield f"http://{place}/mcp"


@pytest.mark.share(2)
@pytest.mark.parametrize(
    ("method", "status", "challenge", "options", "found"),
    [
        ("tools/list", 401, "Bearer", (), {LISTING: CREDENTIALS, ANSWERING: "passed"}),
        ("tools/call", 401, "Bearer", (), {LISTING: "passed", CALLING: CREDENTIALS}),
        ("tools/call", 403, INSUFFICIENT, (), {CALLING: SCOPE}),
        ("tools/call", 429, None, (), {CALLING: BUSY}),
        ("subscriptions/listen", 401, "Bearer", (), dict.fromkeys(SUBSCRIBING, CREDENTIALS)),
        ("kit/no-such-method", 401, "Bearer", (), {ANSWERED: CREDENTIALS}),
        # a challenge that is none, or of somebody with credentials, is no reason
        ("tools/call", 401, None, (), {CALLING: "failed"}),
        ("tools/call", 403, "Bearer", (), {CALLING: "failed"}),
        (
            "tools/call",
            401,
            "Bearer",
            ("--header", "Authorization: Bearer good"),
            {CALLING: "failed"},
        ),
    ],
)
def test_a_server_may_be_shut_in_part(
    method: str, status: int, challenge: str | None, options: tuple[str, ...], found: dict[str, str]
) -> None:
    headers = {} if challenge is None else {"www-authenticate": challenge}
    only = [word for case in found for word in ("--only", case)]
    with shut_behind(method, status, **headers) as url:
        revision = "2025-11-25" if method in ANSWERS else "2026-07-28"
        words = ("--revision", revision, "--report", "json", *only, *options, url)
        rows = json.loads(conformance("server", *words).stdout)
    said = {row["id"]: (row["verdict"], row["detail"]) for row in rows}
    for case, wanted in found.items():
        assert wanted in said[case], said[case]
        assert (said[case][0] == "inconclusive") is wanted.startswith("the server")
