"""Options of `mcpcore serve` and `mcpcore gateway` for telemetry and logs."""

import logging
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

pytest.importorskip("prometheus_client", reason="the client of Prometheus is not installed")

import msgspec
from msgspec import structs
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from mcpcore import MemoryTarget, Server, connect
from mcpcore.http.messages import HttpRequest
from mcpcore_transports.commands.gateway import gateway_settings
from mcpcore_transports.commands.options import GatewayOptions, ServeOptions
from mcpcore_transports.commands.output import Failure
from mcpcore_transports.commands.serve import _settings, _show_logs
from mcpcore_transports.running.audit import AUDIT_LOGGER
from mcpcore_transports.server.logs import JsonLines, without_labels
from mcpcore_transports.telemetry import workers
from mcpcore_transports.telemetry.workers import WorkerPages
from tests.clock import PATIENCE
from tests.command import mcpcore_here

GET = HttpRequest(method="GET", path="/metrics", headers=[])
WEB = ServeOptions(http=("127.0.0.1:0",))


def settings_of(place: Path | None = None, **given: Any) -> Any:
    return _settings(structs.replace(WEB, **given), develop=False, place=place)


def test_nothing_is_observed_unless_asked_for() -> None:
    settings = settings_of()
    assert (settings.runtime.middleware, settings.runtime.observer) == ((), None)
    assert settings.http.pages == {}


@pytest.mark.parametrize(
    ("given", "middleware", "pages"),
    [
        ({"telemetry": True}, 1, []),
        ({"metrics_path": "/metrics"}, 1, ["/metrics"]),
        ({"telemetry": True, "metrics_path": "/m", "verbose": True}, 2, ["/m"]),
        ({"log_format": "json"}, 1, []),
    ],
)
def test_what_is_asked_for(given: dict[str, Any], middleware: int, pages: list[str]) -> None:
    settings = settings_of(**given)
    assert len(settings.runtime.middleware) == middleware
    assert list(settings.http.pages) == pages
    assert (settings.runtime.observer is None) is ("log_format" in given)


def test_a_gateway_is_observed_without_middleware_for_it() -> None:
    given = {"telemetry": True, "metrics_path": "/m", "log_format": "json"}
    options = GatewayOptions(http=WEB.http, **given)  # type: ignore[arg-type]
    settings = _settings(options, develop=False)
    assert without_labels(settings.runtime.middleware) == (True, ())
    assert settings.runtime.observer is not None
    assert list(settings.http.pages) == ["/m"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"telemetry_contents": True}, "--telemetry-contents needs --telemetry"),
        *(
            ({"metrics_path": path}, f"--metrics-path: '{path}' is taken")
            for path in ("/mcp", "/health", "/health/live", "/health/ready")
        ),
        ({"metrics_path": "/a b"}, "--metrics-path: '/a b' is no path"),
        ({"metrics_path": "m"}, "--metrics-path: 'm' is no path"),
    ],
)
def test_what_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(Failure, match=message):
        settings_of(**given)


@pytest.mark.anyio
async def test_a_call_is_on_the_page() -> None:
    server = Server("shop", version="1")

    @server.tool
    def pay() -> str:
        return "ok"

    settings = settings_of(metrics_path="/metrics")
    async with connect(MemoryTarget(server, settings.runtime)) as client:
        await client.call_tool("pay")
    page = settings.http.pages["/metrics"](GET).body
    assert b'gen_ai_tool_name="pay"' in page
    assert b'network_protocol_name="http"' in page


def test_workers_show_the_metrics_of_all(tmp_path: Path) -> None:
    shown = [
        settings_of(metrics_path="/m", workers=2, place=tmp_path / name).http.pages["/m"]
        for name in "12"
    ]
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(tmp_path / "3"))  # its worker was killed
    for page in [each(GET).body.decode() for each in shown]:
        assert page.count("# TYPE mcp_server_active_sessions gauge") == 1
        samples = [line for line in page.splitlines() if "mcp_server_active_sessions{" in line]
        assert samples == [f'mcp_server_active_sessions{{worker="{each}"}} 0.0' for each in "12"]
    again = settings_of(metrics_path="/m", workers=2, place=tmp_path / "2").http.pages["/m"]
    assert again(GET).body.decode().count("mcp_server_active_sessions{") == 2


@pytest.mark.parametrize("said", [b"", b"x", b"\x91\x01"], ids=["nothing", "noise", "no family"])
def test_a_worker_that_says_something_else_is_left_out(tmp_path: Path, said: bytes) -> None:
    def answer() -> None:
        for _ in "ab":
            caller, _ = other.accept()
            with caller:
                caller.sendall(said)

    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "2"))
        other.listen()
        thread = Thread(target=answer)
        thread.start()
        page = settings_of(metrics_path="/m", workers=2, place=tmp_path / "1").http.pages["/m"]
        for _ in "ab":
            assert page(GET).body.decode().count("mcp_server_active_sessions{") == 1
        thread.join()


def test_workers_are_asked_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_PATIENCE", PATIENCE)
    samples: list[tuple[str, dict[str, str], float]] = [("shown", {}, 1.0)]
    family = ("shown", "Some.", "gauge", samples)

    def answer() -> None:
        callers = [other.accept()[0] for other in others]  # none is answered before all are asked
        for caller in callers:
            with caller:
                caller.sendall(msgspec.msgpack.encode([family]))

    with socket.socket(socket.AF_UNIX) as second, socket.socket(socket.AF_UNIX) as third:
        others = [second, third]
        for name, other in zip("23", others, strict=True):
            other.bind(str(tmp_path / name))
            other.listen()
        Thread(target=answer, daemon=True).start()
        page = WorkerPages(CollectorRegistry(), tmp_path / "1").page().body.decode()
    assert [f'shown{{worker="{name}"}} 1.0' in page for name in "23"] == [True, True]


def test_a_worker_that_could_not_answer_once_answers_again(tmp_path: Path) -> None:
    failures = iter([OSError("no descriptor"), RuntimeError("dictionary changed size")])

    class Failing(Collector):
        def describe(self) -> Iterable[Metric]:
            return ()

        def collect(self) -> Iterable[Metric]:
            for each in failures:
                raise each
            return [Metric("shown", "Some.", "gauge")]

    registry = CollectorRegistry()
    WorkerPages(registry, tmp_path / "2")
    registry.register(Failing())
    page = WorkerPages(CollectorRegistry(), tmp_path / "1").page
    assert [b"# TYPE shown gauge" in page().body for _ in "abc"] == [False, False, True]


def test_a_place_that_is_too_long_is_told(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="--metrics-path: AF_UNIX path too long"):
        settings_of(metrics_path="/m", workers=2, place=tmp_path / ("x" * 200))


@pytest.fixture
def loggers() -> Iterator[list[logging.Logger]]:
    found = [logging.getLogger(name) for name in (AUDIT_LOGGER, "mcpcore.http")]
    before = [(each.level, each.propagate, [*each.handlers]) for each in found]
    root = [(each, each.formatter) for each in logging.getLogger().handlers]
    yield found
    for each, (level, propagate, handlers) in zip(found, before, strict=True):
        each.level, each.propagate, each.handlers = level, propagate, handlers
        each.setLevel(level)
    for handler, formatter in root:
        handler.setFormatter(formatter)


def test_logs_that_are_shown(loggers: list[logging.Logger]) -> None:
    _show_logs(structs.replace(WEB, log_audit=True, log_format="json"))
    audit, http = loggers
    [handler] = audit.handlers
    assert isinstance(handler.formatter, JsonLines)
    assert not audit.propagate
    assert http.propagate


def test_every_option_has_its_variable() -> None:
    names = ("METRICS_PATH", "TELEMETRY", "TELEMETRY_CONTENTS", "LOG_FORMAT", "LOG_AUDIT")
    values = dict(zip(names, ("/m", "1", "1", "json", "1"), strict=True))
    changes: Any = {f"MCPCORE_{name}": value for name, value in values.items()}
    done = mcpcore_here("serve", "--show-config", **changes)
    for name in names:
        assert f"  # MCPCORE_{name}\n" in done.stdout, done.stdout


@pytest.mark.parametrize("wanted", [False, True])
def test_the_gateway_sends_trace_context_in_headers_if_asked(wanted: bool) -> None:
    http = gateway_settings(GatewayOptions(trace_headers=wanted)).client.http
    assert (http is not None and http.trace_headers) is wanted
