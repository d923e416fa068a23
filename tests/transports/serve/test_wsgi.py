"""The WSGI application called as a WSGI server would call it, from threads."""

import io
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import anyio.to_thread
import pytest

from mcpcore import Context, HttpServerSettings, HttpSettings, Server, ServeSettings
from mcpcore.http.settings import SsePaths
from mcpcore_transports.serve.wsgi import WsgiApp, wsgi_app
from tests.clock import PATIENCE
from tests.transports.http_fixture import http, legacy, tool
from tests.transports.serve.test_asgi import INITIALIZE, TOKEN

MAX_BODY = 100_000


class WsgiSite:
    """A server behind WSGI whose tools a test can steer."""

    def __init__(self, drain_time: float = PATIENCE, **settings: Any) -> None:
        self.lives: list[str] = []
        self.cancelled = threading.Event()
        self.release = threading.Event()
        self._responses: list[Response] = []
        server = Server("site", version="1", lifespan=self.life)
        for handler in (self.add, self.whoami, self.hold):
            server.tool(handler)
        self.app = wsgi_app(
            server,
            settings=ServeSettings(
                http=HttpSettings(max_body=MAX_BODY),
                http_link=HttpServerSettings(drain_time=drain_time),
            ),
            principal=lambda environ: environ.get("site.user"),
            **settings,
        )

    @asynccontextmanager
    async def life(self) -> AsyncIterator[None]:
        self.lives.append("entered")
        yield
        self.lives.append("left")

    def add(self, a: int, b: int) -> int:
        return a + b

    def whoami(self, context: Context) -> str:
        return str(context.principal)

    async def hold(self, context: Context) -> str:
        context.progress(1)
        try:
            await anyio.to_thread.run_sync(self.release.wait, abandon_on_cancel=True)
        except BaseException:
            self.cancelled.set()
            raise
        return "held"

    def call(self, request: bytes, **environ: Any) -> "Response":
        self._responses.append(Response(self.app, request, **environ))
        return self._responses[-1]

    def end(self) -> None:
        self.release.set()
        for response in self._responses:
            response.leave()
        self.app.close()


class Response:
    """A reply, as far as the server has taken it."""

    def __init__(
        self, app: WsgiApp, request: bytes, *, checked: bool = True, **environ: Any
    ) -> None:
        """``checked``: the interface is held to PEP 3333, from both sides."""
        head, _, body = request.partition(b"\r\n\r\n")
        line, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = line.split(" ")
        path, _, query = target.partition("?")
        variables = {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query}
        for name, value in (line.split(": ", 1) for line in lines):
            variables[f"HTTP_{name.upper().replace('-', '_')}"] = value
        for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            variables |= (
                {name: variables.pop(f"HTTP_{name}")} if f"HTTP_{name}" in variables else {}
            )
        self.environ: dict[str, Any] = {"SCRIPT_NAME": "", "REMOTE_ADDR": "192.0.2.1", **variables}
        self.environ |= {"wsgi.multithread": True, "wsgi.input": io.BytesIO(body), **environ}
        setup_testing_defaults(self.environ)
        # The validator wants a Content-Type for 202, too, though nothing follows.
        taken = validator(app) if checked and b"notifications/" not in body else app
        self._parts = taken(self.environ, self._start)
        self._iterator = iter(self._parts)

    def _start(self, status: str, headers: list[tuple[str, str]], _: object = None) -> Any:
        self.status = int(status.split(" ", 1)[0])
        self.headers = dict(headers)

    def __next__(self) -> bytes:
        return next(self._iterator)

    def until(self, what: bytes) -> bytes:
        """What arrives until it has ``what``."""
        seen = b""
        while what not in seen:
            seen += next(self)
        return seen

    def leave(self) -> None:
        self._parts.close()  # type: ignore[attr-defined]

    @property
    def body(self) -> bytes:
        """The rest of the body."""
        return b"".join(self._iterator)

    @property
    def result(self) -> Any:
        return json.loads(self.body)["result"]["content"][0]["text"]


@pytest.fixture
def site() -> Iterator[WsgiSite]:
    made = WsgiSite()
    yield made
    made.end()
    assert made.lives == ["entered", "left"]


def session_of(site: WsgiSite) -> str:
    opened = site.call(legacy("initialize", INITIALIZE))
    assert json.loads(opened.body)["result"]["protocolVersion"] == "2025-11-25"
    session = opened.headers["mcp-session-id"]
    initialized = site.call(legacy("notifications/initialized", id=None, session=session))
    assert (initialized.status, initialized.body) == (202, b"")
    return session


@pytest.mark.parametrize(
    ("headers", "environ"),
    [
        ({}, {}),
        ({"Content-Length": None}, {"wsgi.input_terminated": True}),
        ({"Content-Length": None, "Transfer-Encoding": "chunked"}, {"wsgi.input_terminated": True}),
    ],
    ids=["a length", "an end", "chunks"],
)
def test_a_request_and_its_answer(
    site: WsgiSite, headers: dict[str, str | None], environ: dict[str, Any]
) -> None:
    response = site.call(tool("add", a=2, b=3, headers=headers), **environ)
    assert (response.status, response.headers["content-type"]) == (200, "application/json")
    assert response.result == "5"


def test_a_session_and_its_stream(site: WsgiSite) -> None:
    session = session_of(site)
    call = legacy("tools/call", {"name": "add", "arguments": {"a": 2, "b": 3}}, session=session)
    assert site.call(call).result == "5"
    headers = {"Accept": "text/event-stream", "Mcp-Session-Id": session}
    stream = site.call(http(method="GET", headers=headers))
    assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream")
    ended = site.call(http(method="DELETE", headers={"Mcp-Session-Id": session}))
    assert (ended.status, ended.body) == (204, b"")
    assert b"data: {" not in stream.body
    assert site.call(call).status == 404


def test_events_arrive_while_the_handler_runs(site: WsgiSite) -> None:
    response = site.call(tool("hold", meta=TOKEN))
    assert b"notifications/progress" in response.until(b"\n\n")
    site.release.set()
    assert b'"held"' in response.body


def test_leaving_cancels_a_modern_request(site: WsgiSite) -> None:
    response = site.call(tool("hold", meta=TOKEN))
    response.until(b"progress")
    response.leave()
    assert site.cancelled.wait(PATIENCE)


@pytest.mark.parametrize(
    ("request_", "environ", "status"),
    [
        (http(method="GET", headers={"Host": "evil.example"}), {}, 403),
        (tool("add", headers={"Host": "evil.example"}), {}, 403),
        (http(b"{}", target="/elsewhere"), {}, 404),
        (http(method="PUT"), {}, 405),
        (http(b"{}", headers={"Content-Type": "text/plain"}), {}, 415),
        (http(b"{nonsense"), {}, 400),
        (http(b"{}", headers={"Content-Length": "9" * 5000}), {"checked": False}, 400),
        (http(b"{}", headers={"Content-Length": None, "Transfer-Encoding": "chunked"}), {}, 400),
        (http(b" " * (MAX_BODY + 1)), {}, 413),
        (
            http(b" " * (2 * MAX_BODY), headers={"Content-Length": None}),
            {"wsgi.input_terminated": True},
            413,
        ),
    ],
)
def test_refusals(site: WsgiSite, request_: bytes, environ: dict[str, Any], status: int) -> None:
    response = site.call(request_, **environ)
    assert (response.status, "error" in json.loads(response.body)) == (status, True)


def test_a_short_body_that_is_refused_is_read_so_that_the_client_reads_the_refusal(
    site: WsgiSite,
) -> None:
    source = io.BytesIO(b"x" * 10)
    head = http(b"x" * 10, headers={"Host": "evil.example"}).partition(b"x" * 10)[0]
    assert site.call(head, **{"wsgi.input": source}).status == 403
    assert source.tell() == 10


def test_a_client_that_leaves_amid_its_body(site: WsgiSite) -> None:
    with pytest.raises(ConnectionAbortedError):
        site.call(tool("add", a=1, b=2)[:-1])
    assert site.call(tool("add", a=1, b=2)).result == "3"


@pytest.mark.parametrize(("user", "status"), [("ada", 200), (7, 500)])
def test_users_of_middleware(site: WsgiSite, user: object, status: int) -> None:
    response = site.call(tool("whoami"), **{"site.user": user})
    assert response.status == status
    assert (response.result == user) if status == 200 else response.body


def test_where_it_is_mounted(site: WsgiSite) -> None:
    assert site.call(tool("add", a=1, b=2), SCRIPT_NAME="/tools").result == "3"


def test_a_path_is_told_as_it_is_mounted() -> None:
    settings = ServeSettings(http=HttpSettings(sse=SsePaths()))
    app = wsgi_app(Server("old"), settings=settings)
    request = http(method="GET", target="/sse", headers={"Accept": "text/event-stream"})
    stream = Response(app, request, SCRIPT_NAME="/caf\xc3\xa9")  # UTF-8, as PEP 3333 has it
    assert b"\ndata: /caf%C3%A9/messages?" in stream.until(b"session_id")
    stream.leave()
    app.close()


def test_the_end_lets_requests_finish_and_refuses_others(site: WsgiSite) -> None:
    running = site.call(tool("hold", meta=TOKEN))
    running.until(b"progress")
    closing = threading.Thread(target=site.app.close)
    closing.start()
    while (other := site.call(tool("add", a=1, b=2))).status == 200:
        pass
    assert other.status == 503
    site.release.set()
    assert b'"held"' in running.body
    running.leave()
    closing.join()


def test_the_end_gives_up_what_does_not_finish() -> None:
    site = WsgiSite(drain_time=0)
    running = site.call(tool("hold", meta=TOKEN))
    running.until(b"progress")
    site.app.close()
    with pytest.raises(ConnectionAbortedError):
        running.until(b"held")
    assert site.lives == ["entered", "left"]
    assert site.call(tool("add", a=1, b=2)).status == 503
    site.end()


def test_one_that_is_closed_before_the_first_request() -> None:
    site = WsgiSite()
    site.app.close()
    assert site.call(tool("add", a=1, b=2)).status == 503
    site.end()
    assert site.lives == []


@pytest.mark.parametrize("threads", [True, False])
def test_a_single_thread_is_warned_of_once(
    site: WsgiSite, threads: bool, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        site.call(tool("add", a=1, b=2), **{"wsgi.multithread": threads})
    warned = [record for record in caplog.records if "single thread" in record.getMessage()]
    assert len(warned) == (not threads)
