"""Mutants of arguments that are mirrored into headers."""

import base64
from collections.abc import Callable
from typing import Any

from conformance.mutants.basic_transports_http_headers import MISMATCH
from conformance.mutants.fault import Asked, Fault
from conformance.mutants.http_faults import calls, pours_statuses, refuses, rewrites
from conformance.mutants.model import Table
from mcpcore_conformance.kit import messages

table = Table("basic/transports/streamable-http")

REGION, SHARD, ZONE, DRY, NOTE = (
    f"mcp-param-{name}" for name in ("region", "shard", "zone", "dry-run", "note")
)


def trusting(name: str, test: Callable[[str | None, Any], bool]) -> Callable[[], Fault]:
    """The server believes a header that passes the test: it gets the one that fits.

    The test gets the header and the argument that it belongs to.
    """

    def edit(asked: Asked) -> Asked:
        argument = _argument(asked, name)
        if test(asked.headers.get(name), argument):
            asked.headers[name] = None if argument is None else _mirror(argument)
        return asked

    return rewrites(calls("tools/call"), edit)


def _argument(asked: Asked, name: str) -> Any:
    arguments = asked.value["params"].get("arguments", {})
    found = {REGION: "region", SHARD: "shard", DRY: "dry", NOTE: "note"}.get(name)
    if found is not None:
        return arguments.get(found)
    return arguments.get("place", {}).get("zone")


def _mirror(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"=?base64?{base64.b64encode(str(value).encode()).decode()}?="


def _has(name: str, *parts: str) -> Callable[[Asked], bool]:
    return lambda asked: any(part in (asked.headers.get(name) or "") for part in parts)


def _nothing_given(asked: Asked) -> bool:
    call = calls("tools/call", "test_x_mcp_header_kinds")(asked)
    return call and not asked.value["params"].get("arguments")


def _null_given(asked: Asked) -> bool:
    call = calls("tools/call", "test_x_mcp_header_kinds")(asked)
    return call and asked.value["params"].get("arguments") == {"note": None}


table.server("mirrors-refused", "server-behavior-for-custom-headers/served").does(
    "Knows no mirrors of arguments.", refuses(lambda asked: REGION in asked.headers, 400, MISMATCH)
)
table.server("mirror-not-needed", "server-behavior-for-custom-headers/missing").does(
    "Does without the mirror of an argument.",
    trusting(REGION, lambda found, argument: found is None),
)
table.server("mirror-overlooked", "server-behavior-for-custom-headers/other-than-body").does(
    "Does not compare mirrors.", trusting(REGION, lambda found, argument: True)
)
table.server("mirror-in-any-case", "server-behavior-for-custom-headers/other-than-body").does(
    "Compares mirrors without regard to case.",
    trusting(REGION, lambda found, argument: (found or "").lower() == argument),
)
table.server("mirror-not-decoded", "server-behavior-for-custom-headers/decoded").does(
    "Compares the sentinel form of a mirror as it is.",
    refuses(_has(REGION, "=?base64?"), 400, MISMATCH),
)
table.server("look-alikes-refused", "value-encoding/sentinel-look-alike").does(
    "Takes everything that begins like a sentinel for one.",
    refuses(_has(REGION, "=?base64?"), 400, MISMATCH),
)
table.server("mirror-guessed", "value-encoding/parameter-broken").does(
    "Makes something of Base64 without its padding.",
    trusting(REGION, lambda found, argument: found == "=?base64?SGVsbG8?="),
)
table.server(
    "mirror-of-any-characters", "server-behavior-for-custom-headers/invalid-characters"
).does("Takes bytes outside ASCII in mirrors.", pours_statuses(200))
table.server("unknown-mirror-refused", "server-behavior-for-custom-headers/unknown-ignored").does(
    "Refuses mirrors that nobody asked for.",
    refuses(lambda asked: "mcp-param-kit-unknown" in asked.headers, 400, MISMATCH),
)
table.server("nested-overlooked", "server-behavior-for-custom-headers/nested").does(
    "Compares the mirrors of the first level only.", trusting(ZONE, lambda found, argument: True)
)
table.server("boolean-in-any-notation", "value-encoding/booleans").does(
    "Takes 1 for true.", trusting(DRY, lambda found, argument: found == "1")
)
table.server("integer-in-any-notation", "value-encoding/integers").does(
    "Understands hexadecimal integers.",
    trusting(SHARD, lambda found, argument: (found or "").startswith("0x")),
)
table.server("integer-as-float", "value-encoding/integers").does(
    "Compares integers as floating point numbers of half the precision.",
    trusting(SHARD, lambda found, argument: argument == 2**53 - 1),
)
table.server("integer-of-any-size", "schema-extension/integers-within-range").does(
    "Takes integers of any size.",
    refuses(
        lambda asked: len(asked.headers.get(SHARD) or "") > 15,
        200,
        messages.result(None, {"resultType": "complete", "content": []}),
    ),
)
table.server("integers-as-text", "server-validation/integers-numerically").does(
    "Compares integers as text.", refuses(_has(SHARD, "."), 400, MISMATCH)
)
table.server("absent-expected", "server-behavior-for-custom-headers/absent-not-expected").does(
    "Wants the headers of arguments that are not given.", refuses(_nothing_given, 400, MISMATCH)
)
table.server("null-expected", "server-behavior-for-custom-headers/null-not-expected").does(
    "Wants the header of an argument that is null.", refuses(_null_given, 400, MISMATCH)
)
table.server("claims-overlooked", "server-validation/header-without-argument").does(
    "Passes over the mirror of an argument that is not given.",
    trusting(NOTE, lambda found, argument: argument is None),
)
