"""The page on targets tells the truth."""

import json
from pathlib import Path

from mcpcore import AuthorizationSettings, ClientIdentity
from mcpcore_transports.client.config import PLACES, VARIABLE, load_targets, read_config
from mcpcore_transports.targets import HttpTarget, SseTarget, StdioTarget
from tests.docs.blocks import ROOT, blocks

PAGE = ROOT / "docs" / "how-to" / "targets.md"
EXAMPLES = [block.text for block in blocks(PAGE) if block.kind == "json"]


def test_the_file_that_is_shown_is_one(tmp_path: Path) -> None:
    (example,) = EXAMPLES
    file = tmp_path / "mcp.json"
    file.write_text(example)
    targets = load_targets(
        file, environ={"WEATHER_KEY": "k", "TICKETS_TOKEN": "t", "NOTES_SECRET": "s"}
    )
    weather = StdioTarget(
        ("uvx", "weather-server", "--units", "metric"), {"API_KEY": "k"}, tmp_path / "tools"
    )
    tickets = HttpTarget("https://tickets.example.com/mcp", {"Authorization": "Bearer t"})
    settings = AuthorizationSettings(
        client=ClientIdentity(client_id="me", client_secret="s"),
        issuer="https://id.example.com",
        scopes=frozenset({"notes:read"}),
    )
    notes = HttpTarget("https://notes.example.com/mcp", auth=settings)
    assert targets == {"weather": weather, "tickets": tickets, "notes": notes}
    old = read_config(file)["old"]
    assert old.disabled
    assert old.target({}) == SseTarget("http://127.0.0.1:8000/sse")
    assert list(json.loads(example)["mcpServers"]) == ["weather", "tickets", "notes", "old"]


def test_where_it_is_looked_for_is_told_in_order() -> None:
    text = PAGE.read_text(encoding="utf-8").partition("they are not put together")[2]
    found = [text.index(f"`{place}`") for place in (VARIABLE, *PLACES)]
    assert found == sorted(found)
