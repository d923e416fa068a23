"""Documents that everybody may read: which requests get them, and with which headers."""

import pytest

from mcpcore.http.documents import Documents
from mcpcore.http.messages import HttpRequest

ANY = (b"access-control-allow-origin", b"*")
ALLOW = (b"allow", b"GET, HEAD, OPTIONS")
FOUND = ((b"content-type", b"application/json"), ANY, (b"cache-control", b"public, max-age=7"))
PREFLIGHT = (
    *(ANY, ALLOW, (b"access-control-max-age", b"600")),
    (b"access-control-allow-methods", b"GET, HEAD"),
    (b"access-control-allow-headers", b"*"),
)


@pytest.mark.parametrize(
    ("method", "status", "headers", "body"),
    [
        ("GET", 200, FOUND, b"{}"),
        ("HEAD", 200, FOUND, b"{}"),
        ("OPTIONS", 204, PREFLIGHT, b""),
        ("POST", 405, (ALLOW,), b""),
        ("get", 405, (ALLOW,), b""),
    ],
)
def test_a_document_is_read_at_its_path(
    method: str, status: int, headers: tuple[tuple[bytes, bytes], ...], body: bytes
) -> None:
    documents = Documents({"/a": b"{}"}, 7)
    reply = documents.reply(HttpRequest(method=method, path="/a", headers=[]))
    assert reply is not None
    assert (reply.status, reply.headers, reply.body) == (status, headers, body)
    for path in ("/", "/a/", "/A", "a", "//a"):
        assert documents.reply(HttpRequest(method=method, path=path, headers=[])) is None


def test_there_is_none_by_default() -> None:
    assert Documents().reply(HttpRequest(method="GET", path="/", headers=[])) is None
    assert Documents().age == 3600
