"""The page of a trace: what it holds, that it is safe, and how it works in a browser."""

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mcpcore_conformance.trace import page as pages
from mcpcore_conformance.trace.page import page
from mcpcore_conformance.trace.reading import TraceFile
from tests.absent import absent
from tests.command import mcpcore_here
from tests.trace.browser import BROWSER, browsing
from tests.trace.said import (
    c,
    done,
    handshake,
    modern,
    post,
    reply,
    request,
    result,
    s,
    saved,
    trace,
)

EVIL = "</script><img src=x onerror='document.title=1'><!--\u2028${evil}$data&amp;"
ASKED = {
    "resultType": "input_required",
    "inputRequests": {"a": {"method": "roots/list"}},
    "requestState": "S",
}
ROUNDS = trace(
    c(modern("tools/call", {"name": "t", "arguments": {}})),
    s(done(ASKED)),
    c(
        modern(
            "tools/call",
            {"name": "t", "arguments": {}, "requestState": "S", "inputResponses": {}},
            2,
        )
    ),
    s(done({"content": []}, 2)),
)
HOSTILE = trace(
    handshake(),
    c(request(EVIL, {"name": EVIL}, EVIL)),
    s(result({"content": [{"type": "text", "text": EVIL}]}, EVIL)),
)
EARLY = trace(handshake()[:2], c(request("tools/list", id=1)), s(result({"tools": []})))


def data_of(text: str) -> Any:
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.S)
    assert found is not None
    return msgspec.json.decode(found[1])


def lanes_of(made: TraceFile) -> list[tuple[str, list[int]]]:
    lanes = data_of(page(made, "t"))["lanes"]
    return [(f"{each['kind']} {each['name']}", each["at"]) for each in lanes]


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (ROUNDS, [("session 1", [0, 1, 2, 3]), ("round tools/call 1", [0, 1, 2, 3])]),
        (
            EARLY,
            [
                ("session 1", [0, 1, 2, 3]),
                ("round initialize 0", [0, 1]),
                ("round tools/list 1", [2, 3]),
            ],
        ),
        (
            trace(
                post(modern("tools/list")), reply(done({"tools": []})), side="server", binding=""
            ),
            [("session 1", None), ("stream 1.1", None), ("round tools/list 1", None)],
        ),
    ],
    ids=["a round", "requests", "an exchange"],
)
def test_lanes_are_sessions_streams_and_rounds(
    made: TraceFile, wanted: list[tuple[str, list[int] | None]]
) -> None:
    found = lanes_of(made)
    assert [name for name, _ in found] == [name for name, _ in wanted]
    for (_, at), (_, places) in zip(found, wanted, strict=True):
        assert places is None or at == places


def test_each_record_has_the_states_of_both_machines() -> None:
    records = data_of(page(EARLY, "t"))["records"]
    states = [(each["client"]["state"], each["server"]["state"]) for each in records]
    assert states[-1][0].startswith("open, 2025-11-25")
    assert states[0][1].startswith("opening, 2025-11-25")
    assert records[0]["server"]["sends"] == ["result id=0"]


def test_findings_are_pinned_to_their_records() -> None:
    found = data_of(page(EARLY, "t"))["findings"]
    assert [(each["at"], each["rule"]) for each in found] == [(2, "initialized")]


def test_what_a_trace_says_is_never_markup() -> None:
    text = page(HOSTILE, EVIL)
    assert "<img" not in text
    assert text.count("</script>") == 2
    assert data_of(text)["records"][3]["what"].startswith(f"-> request {EVIL} id=")


def test_the_policy_allows_the_script_of_the_page_and_nothing_else() -> None:
    text = page(ROUNDS, "t")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    script = re.search(r"<script>(.*)</script>", text, re.S)
    style = re.search(r"<style>(.*)</style>", text, re.S)
    assert policy is not None
    assert script is not None
    assert style is not None

    def named(part: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()}'"

    assert policy[1].split("; ") == [
        "default-src 'none'",
        f"script-src {named(script[1])}",
        f"style-src {named(style[1])}",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    assert not re.search(r"\b(?:src|href)=|https?://(?!www\.w3\.org/2000/svg)", text)


def test_a_page_has_the_first_records_and_says_how_many_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pages, "MOST_RECORDS", 3)
    made = data_of(page(EARLY, "t"))
    assert (len(made["records"]), made["total"]) == (3, 4)


def test_the_command_writes_the_page_for_its_owner(tmp_path: Path) -> None:
    file, out = saved(EARLY, tmp_path), tmp_path / "talk.html"
    done = mcpcore_here("trace", "page", str(file), "-o", str(out))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert data_of(out.read_text("utf-8"))["title"] == "talk.jsonl"
    assert out.stat().st_mode & 0o077 == 0
    failed = mcpcore_here("trace", "page", str(file), "-o", str(tmp_path))
    assert (failed.returncode, "--output" in failed.stderr) == (2, True)


@pytest.mark.long
def test_a_browser_shows_the_page_and_its_keys_work(tmp_path: Path) -> None:
    if BROWSER is None:
        absent("chromium")
    file = tmp_path / "page.html"
    with browsing(tmp_path / "profile") as tab:
        file.write_text(page(HOSTILE, EVIL), "utf-8")
        tab.open(file)
        assert tab.value("document.title") == EVIL
        assert tab.value("document.images.length") == 0
        tab.press("End")
        assert "onerror" in tab.value("document.getElementById('text').textContent")
        assert not tab.complaints

        file.write_text(page(EARLY, "early"), "utf-8")
        tab.open(file)
        here = "document.getElementById('now').textContent"
        server = "document.querySelector('#server [aria-current]').textContent"
        assert tab.value("document.querySelectorAll('#lanes .row').length") == 3
        assert tab.value(here).startswith("1/4  line 2")
        assert tab.value(server) == "opening"
        for key, at in (("ArrowRight", 2), ("n", 3), ("End", 4), ("p", 3), ("Home", 1)):
            tab.press(key)
            assert tab.value(here).startswith(f"{at}/4"), key
        tab.value("document.getElementById('slider').value = 3")
        tab.value("document.getElementById('slider').dispatchEvent(new Event('input'))")
        assert tab.value(here).startswith("4/4")
        assert tab.value("document.querySelector('#client [aria-current]').textContent") == "open"
        tab.value("document.querySelector('#findings button').click()")
        assert "MUST" in tab.value("document.getElementById('pinned').textContent")
        back = "getComputedStyle(document.body).backgroundColor"
        shades = []
        for shade in ("light", "dark"):
            features = [{"name": "prefers-color-scheme", "value": shade}]
            tab.ask("Emulation.setEmulatedMedia", features=features)
            shades.append(tab.value(back))
        assert shades == ["rgb(255, 255, 255)", "rgb(20, 23, 27)"]
        assert not tab.complaints
        tab.value(
            "const s = document.createElement('script'); s.textContent = 'window.ran = 1';"
            "document.body.append(s)"
        )
        assert tab.value("window.ran") is None
        assert any("Content Security Policy" in each for each in tab.complaints)
