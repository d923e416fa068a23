"""The rule file and the dashboard: what they name exists, and their expressions are well formed."""

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from http.client import HTTPConnection
from pathlib import Path
from subprocess import DEVNULL
from typing import Any
from urllib.parse import urlencode

import anyio
import anyio.to_thread
import pytest

from mcpcore import connect
from tests.absent import absent
from tests.clock import patience
from tests.ports import free_port
from tests.transports.serving import serving

pytest.importorskip("prometheus_client", reason="the client of Prometheus is not installed")

from mcpcore_transports.telemetry.prometheus import PrometheusMeters
from mcpcore_transports.telemetry.requests import DURATIONS, observe_answers, observe_requests
from mcpcore_transports.telemetry.sessions import GAUGES, REFUSALS, observe_sessions

yaml: Any = pytest.importorskip("yaml")
FOLDER = Path(__file__).parents[2] / "docs/observability"
RULES = yaml.safe_load((FOLDER / "rules.yml").read_text(encoding="utf-8"))
BOARD = json.loads((FOLDER / "grafana.json").read_text(encoding="utf-8"))
PAGE = (FOLDER.parent / "how-to/observability.md").read_text(encoding="utf-8")
WORDS = {
    *("by", "and", "sum", "rate", "deriv", "histogram_quantile", "label_values"),
    *("job", "le", "mcp_method_name", "gen_ai_tool_name", "error_type", "mcp_refusal_by"),
    *("mcp_circuit_name", "mcp_circuit_state", "mcp_replica_name", "mcp_replica_state"),
    "mcp_check_name",
}
"""Functions, operators and labels of the expressions."""
PART = re.compile(
    r"""\s+|"[^"]*"|\[(?:\d+[smhd]|\$__rate_interval)\]|[a-zA-Z_:][\w:]*|\d+(?:\.\d+)?"""
    r"""|=~|!=|==|[=<>/(){},]"""
)


def recorded() -> set[str]:
    return {
        rule["record"] for group in RULES["groups"] for rule in group["rules"] if "record" in rule
    }


def expressions() -> Iterator[str]:
    for group in RULES["groups"]:
        for rule in group["rules"]:
            yield rule["expr"]
    for panel in BOARD["panels"]:
        for target in panel["targets"]:
            yield target["expr"]
    for variable in BOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["query"]


def families() -> set[str]:
    """Names of all metrics that are on a page, by the names of their samples."""
    meters = PrometheusMeters()
    observe_answers(meters=meters)
    observe_requests(meters=meters)
    observe_sessions(meters=meters)
    found: set[str] = set()
    suffixes = {"histogram": ("_bucket", "_count", "_sum"), "counter": ("_total",), "gauge": ("",)}
    for family in meters.get_meter("any").collect():
        found |= {family.name + suffix for suffix in suffixes[family.type]}
    return found


@pytest.mark.parametrize("expression", list(expressions()))
def test_an_expression_names_what_exists_and_is_whole(expression: str) -> None:
    at, known, open_ = 0, families() | recorded() | WORDS, list[str]()
    while at < len(expression):
        part = PART.match(expression, at)
        assert part, f"{expression[at:]!r} is not understood"
        at, word = part.end(), part[0]
        if re.match(r"[a-zA-Z_]", word):
            assert word in known, word
        if word in "({":
            open_.append(word)
        elif word in ")}":
            assert open_, expression
            assert open_.pop() + word in ("()", "{}"), expression
    assert not open_


def test_rules_have_what_prometheus_wants() -> None:
    for rule in (rule for group in RULES["groups"] for rule in group["rules"]):
        allowed: Any = {"record", "expr"}
        if "alert" in rule:
            allowed = {"alert", "expr", "for", "labels", "annotations"}
        assert rule.keys() == allowed, rule


def test_panels_have_places_of_their_own() -> None:
    panels = BOARD["panels"]
    assert len({each["id"] for each in panels}) == len(panels)
    assert len({(each["gridPos"]["x"], each["gridPos"]["y"]) for each in panels}) == len(panels)


@pytest.mark.long
@pytest.mark.anyio
async def test_prometheus_reads_its_files_and_knows_the_answers(tmp_path: Path) -> None:
    if shutil.which("prometheus") is None:
        absent("prometheus")
    place = f"127.0.0.1:{free_port()}"

    def fetch(about: str, words: Mapping[str, str]) -> Any:
        with closing(HTTPConnection(place)) as connection:
            connection.request("GET", f"/api/v1/{about}?{urlencode(words)}")
            answer = connection.getresponse()
            said = answer.read()
        if answer.status == 503:
            raise ConnectionRefusedError("it has yet to begin")
        assert answer.status == 200, said
        return json.loads(said)["data"]

    async def until(about: str, good: Callable[[Any], object], **words: str) -> None:
        while True:
            with suppress(ConnectionRefusedError):
                if good(await anyio.to_thread.run_sync(fetch, about, words)):
                    return
            await anyio.sleep(0.1)

    async with serving("--http", "127.0.0.1:0", "--metrics-path", "/metrics") as served:
        text = (FOLDER / "prometheus.yml").read_text().replace("15s", "1s")
        assert "127.0.0.1:8000" in text
        text = text.replace("127.0.0.1:8000", f"127.0.0.1:{served.port}")
        (tmp_path / "prometheus.yml").write_text(text)
        shutil.copy(FOLDER / "rules.yml", tmp_path)
        words = ("--config.file=prometheus.yml", f"--web.listen-address={place}")
        async with (
            connect(served.url) as client,
            await anyio.open_process(
                ["prometheus", *words], cwd=tmp_path, stdout=DEVNULL, stderr=DEVNULL
            ) as process,
        ):
            try:
                with patience():
                    await client.list_tools()
                    drawn = '{__name__="mcp_server_operation_duration_seconds_count",job="mcpcore"}'
                    await until("query", lambda data: data["result"], query=drawn)
                    for expression in expressions():
                        query = expression.replace("$__rate_interval", "1m").replace("$job", ".*")
                        if not query.startswith("label_values"):  # Grafana's own
                            fetch("query", {"query": query})
                    rules = sum(len(group["rules"]) for group in RULES["groups"])
                    await until("rules", lambda data: str(data).count("'health': 'ok'") == rules)
            finally:
                process.terminate()


@pytest.mark.parametrize("name", [*DURATIONS, *GAUGES, REFUSALS])
def test_every_metric_is_on_the_page(name: str) -> None:
    assert f"| `{name}` |" in PAGE


@pytest.mark.parametrize("name", GAUGES)
def test_every_gauge_is_on_the_board(name: str) -> None:
    drawn = [target["expr"] for panel in BOARD["panels"] for target in panel["targets"]]
    assert any(name.replace(".", "_") in expression for expression in drawn)
