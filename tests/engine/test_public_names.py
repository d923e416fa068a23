"""The public names of a Peer: a list to change by hand, and the page that has each of them."""

import re
from pathlib import Path

from mcpcore.engine import Peer

NAMES = [
    "abandon",
    "admit",
    "cancel",
    "close",
    "conclude",
    "config",
    "data_to_send",
    "deadline",
    "declare",
    "end",
    "end_subscription",
    "fail",
    "finished",
    "forward",
    "handle_timeout",
    "has_input",
    "idle",
    "in_flight",
    "lines_to_send",
    "log",
    "narrow",
    "next_event",
    "notify",
    "output_size",
    "parts",
    "pending",
    "postpone",
    "principal",
    "progress",
    "queued",
    "receive",
    "receive_data",
    "receive_eof",
    "receive_failure",
    "reconnects",
    "release",
    "renounce",
    "request",
    "require_input",
    "respond",
    "retry",
    "revision",
    "role",
    "start",
    "state",
    "succeed",
    "upset",
    "waits",
    "wants_log",
    "wants_progress",
]
PAGE = Path(__file__).parents[2] / "docs/how-to/embedding.md"


def test_a_peer_has_these_names_and_no_more() -> None:
    assert [name for name in dir(Peer) if not name.startswith("_")] == NAMES


def test_each_is_in_the_reference() -> None:
    page = PAGE.read_text().partition("## Reference\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    named = [name for row in rows for name in re.findall(r"`(\w+)", row)]
    assert sorted(named) == sorted([*NAMES, "Peer"])
