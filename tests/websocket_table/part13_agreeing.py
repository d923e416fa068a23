"""Chapter 13: what is agreed about compression, as server and as client (RFC 7692 section 7.1)."""

from mcpcore_transports.websocket.settings import DeflateSettings
from tests.websocket_table.openings import Openings, line

_ = Openings("server")
NAME = "permessage-deflate"
HEADER = "Sec-WebSocket-Extensions"
FRESH = DeflateSettings()
KEPT = DeflateSettings(context_takeover=True)
NARROW = DeflateSettings(context_takeover=True, window_bits=10)
BOTH = "server_no_context_takeover; client_no_context_takeover"

OFFERS: list[tuple[str, DeflateSettings | None, str | None]] = [
    (NAME, None, None),
    (NAME, FRESH, f"{NAME}; {BOTH}"),
    (NAME, KEPT, NAME),
    (NAME, NARROW, f"{NAME}; server_max_window_bits=10"),
    (f"{NAME}; client_max_window_bits", KEPT, NAME),
    (f"{NAME}; client_max_window_bits", NARROW,
     f"{NAME}; server_max_window_bits=10; client_max_window_bits=10"),
    (f"{NAME}; client_max_window_bits=9", NARROW,
     f"{NAME}; server_max_window_bits=10; client_max_window_bits=9"),
    (f"{NAME}; server_no_context_takeover", KEPT, f"{NAME}; server_no_context_takeover"),
    (f"{NAME}; client_no_context_takeover", KEPT, f"{NAME}; client_no_context_takeover"),
    (f"{NAME}; {BOTH}", KEPT, f"{NAME}; {BOTH}"),
    *((f"{NAME}; server_max_window_bits={bits}", KEPT, f"{NAME}; server_max_window_bits={bits}")
      for bits in range(9, 16)),
    (f"{NAME}; server_max_window_bits=8", KEPT, None),
    (f"{NAME}; server_max_window_bits=8, {NAME}", KEPT, NAME),
    (f"{NAME}; server_max_window_bits=9; client_max_window_bits=9", KEPT,
     f"{NAME}; server_max_window_bits=9"),
    (f'{NAME}; server_max_window_bits="10"', KEPT, f"{NAME}; server_max_window_bits=10"),
    (f"{NAME} ; server_no_context_takeover ", KEPT, f"{NAME}; server_no_context_takeover"),
    # Offers that are none (section 7.1: to be declined)
    (f"{NAME}; server_max_window_bits", KEPT, None),
    (f"{NAME}; server_max_window_bits=7", KEPT, None),
    (f"{NAME}; server_max_window_bits=16", KEPT, None),
    (f"{NAME}; server_max_window_bits=010", KEPT, None),
    (f"{NAME}; client_max_window_bits=16", KEPT, None),
    (f"{NAME}; client_max_window_bits=0", KEPT, None),
    (f"{NAME}; server_no_context_takeover=1", KEPT, None),
    (f"{NAME}; client_no_context_takeover=true", KEPT, None),
    (f"{NAME}; unknown", KEPT, None),
    (f"{NAME}; client_max_window_bits; client_max_window_bits", KEPT, None),
    (f"{NAME}; server_max_window_bits=10; server_max_window_bits=11", KEPT, None),
    (f"{NAME}; unknown, {NAME}", KEPT, NAME),
    (f"{NAME}; unknown, {NAME}; client_no_context_takeover", FRESH, f"{NAME}; {BOTH}"),
    # Others
    ("x-webkit-deflate-frame", KEPT, None),
    (f"x-webkit-deflate-frame, {NAME}", KEPT, NAME),
    (f"permessage-bzip2; a=1, {NAME}", KEPT, NAME),
    (f",, {NAME} ,", KEPT, NAME),
]  # fmt: skip
for offered, settings, answer in OFFERS:
    kind = {None: "none", FRESH: "fresh", KEPT: "kept", NARROW: "narrow"}[settings]
    _.add(
        "13.1",
        f"to a server ({kind}): {offered}",
        line("", f"{HEADER}: {offered}"),
        fields=((HEADER.lower(), answer),),
        deflate=settings,
    )
_.add(
    "13.1",
    "two lines of offers",
    line("", f"{HEADER}: x-unknown", f"{HEADER}: {NAME}"),
    fields=((HEADER.lower(), NAME),),
    deflate=KEPT,
)
for broken in (
    f"{NAME};",
    f"{NAME}; =1",
    f"{NAME}; server_max_window_bits=",
    "a b",
    f"{NAME}; a b",
    f'{NAME}; server_max_window_bits="10',
    "@",
    f"{NAME}; server_max_window_bits==9",
):
    _.add(
        "13.2", f"to a server: {broken}", line("", f"{HEADER}: {broken}"), status=400, deflate=KEPT
    )

_ = Openings("client")
ANSWERS: list[tuple[str, DeflateSettings | None, str]] = [
    (NAME, KEPT, ""),
    (f"{NAME}; server_no_context_takeover", KEPT, ""),
    (f"{NAME}; {BOTH}", KEPT, ""),
    (f"{NAME}; client_max_window_bits=9", KEPT, ""),
    (f"{NAME}; server_max_window_bits=9", KEPT, ""),
    (f"{NAME}; server_max_window_bits=10; client_max_window_bits=10", NARROW, ""),
    (f"{NAME}; {BOTH}", FRESH, ""),
    (f"{NAME}; server_no_context_takeover", FRESH, ""),
    (NAME, None, "an extension that was not offered"),
    ("x-unknown", KEPT, "an extension that was not offered"),
    (f"{NAME}, {NAME}", KEPT, "an extension that was not offered"),
    (f"{NAME}, x-unknown", KEPT, "an extension that was not offered"),
    (NAME, FRESH, "does not agree to server_no_context_takeover"),
    (NAME, NARROW, "does not agree to server_max_window_bits=10"),
    (f"{NAME}; server_max_window_bits=11", NARROW, "does not agree to server_max_window_bits=10"),
    (f"{NAME}; client_max_window_bits=8", KEPT, "8 bits"),
    (f"{NAME}; client_max_window_bits", KEPT, "malformed"),
    (f"{NAME}; server_max_window_bits", KEPT, "malformed"),
    (f"{NAME}; server_max_window_bits=16", KEPT, "malformed"),
    (f"{NAME}; server_max_window_bits=7", KEPT, "malformed"),
    (f"{NAME}; unknown", KEPT, "malformed"),
    (f"{NAME}; unknown=1", KEPT, "malformed"),
    (f"{NAME}; server_no_context_takeover=1", KEPT, "malformed"),
    (f"{NAME}; server_no_context_takeover; server_no_context_takeover", KEPT, "malformed"),
    (f"{NAME};", KEPT, "malformed"),
    ("=", KEPT, "malformed"),
]
for answer, settings, says in ANSWERS:
    kind = {None: "none", FRESH: "fresh", KEPT: "kept", NARROW: "narrow"}[settings]
    _.add(
        "13.3",
        f"to a client ({kind}): {answer}",
        line("", f"{HEADER}: {answer}"),
        says=says,
        deflate=settings,
    )
for settings in (FRESH, KEPT, NARROW):
    _.add("13.3", "to a client whose offer is declined", lambda head: head, deflate=settings)
