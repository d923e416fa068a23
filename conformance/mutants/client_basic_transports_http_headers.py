"""Mutants of clients for the page basic/transports/streamable-http: headers that mirror."""

import base64
from typing import Any

from conformance.mutants.client_faults import (
    ClientFault,
    Value,
    adds,
    header,
    with_header,
    without_header,
)
from conformance.mutants.model import Table

table = Table("basic/transports/streamable-http")

MIRRORS = "custom-headers-from-tool-parameters/client-mirrors"


def _raw(value: str) -> str:
    """A value in the sentinel form as it would be without it, as far as h11 would let it."""
    if not value.startswith("=?base64?"):
        return value
    return base64.b64decode(value[len("=?base64?") : -2]).decode().replace("\0", "")


def _upper(value: str) -> str:
    return value.replace("=?base64?", "=?BASE64?")


@table.client("does-not-look", "client-behavior/client-refreshes")
class _Forgets(ClientFault):
    """Does not look at the tools before it makes the call again."""

    def said(self, value: Value) -> tuple[Value, ...]:
        listed = value.get("method") == "tools/list"
        if listed and any(each.get("method") == "tools/call" for each in self.requests.values()):
            return ({**value, "method": "prompts/list"},)
        return (value,)


@table.client("stubborn", "client-behavior/client-refreshes-once")
class _Stubborn(ClientFault):
    """Makes a call that is refused again and again."""

    def __init__(self) -> None:
        super().__init__()
        self._call: Value = {}
        self._times = 0

    def said(self, value: Value) -> tuple[Value, ...]:
        if value.get("method") == "tools/call":
            self._call = value
        return (value,)

    def told(self, value: Any, payload: bytes) -> bytes | None:
        if isinstance(value, dict) and "error" in value and self._times < 8:
            self._times += 1
            self.invent({**self._call, "id": f"again-{self._times}"})
        return payload


@table.client("loud-sentinel", "value-encoding/client-name", "value-encoding/client-base64")
class _Loud(ClientFault):
    """Writes the sentinel in capitals."""

    def asked(self, asked: Any) -> Any:
        asked.headers = [(name, _upper(value)) for name, value in asked.headers]
        return (asked,)


@table.client(
    "no-mirror",
    MIRRORS,
    "value-encoding/client-base64",
    "schema-extension/client-nested",
    "client-behavior/client-refreshes",
)
class _Unmirrored(ClientFault):
    """Mirrors no parameters."""

    def asked(self, asked: Any) -> Any:
        asked.headers = [each for each in asked.headers if not each[0].startswith("mcp-param-")]
        return (asked,)


table.client("older-version", "protocol-version-header/client").does(
    "Names another version in the header than in the body.",
    header("mcp-protocol-version", lambda value: "2025-11-25"),
)
table.client(
    "no-method",
    "standard-request-headers/client-method",
    "standard-request-headers/client-all-methods",
).does("Does not name the method.", without_header("mcp-method"))
table.client(
    "no-name",
    "standard-request-headers/client-name",
    "standard-request-headers/client-all-methods",
    "value-encoding/client-name",
).does("Does not name the tool.", without_header("mcp-name"))
table.client("raw-name", "value-encoding/client-name").does(
    "Does not encode names.", header("mcp-name", _raw)
)
table.client("mirrors-all", MIRRORS).does(
    "Mirrors every parameter.", with_header("mcp-param-query", "q", "POST")
)
table.client("raw-values", "value-encoding/client-base64").does(
    "Does not encode values.", header("mcp-param-text", _raw)
)
table.client("injected", "value-encoding/client-no-injection").does(
    "Writes line breaks of values into the head.", with_header("x-injected", "yes")
)
table.client("writes-null", "server-behavior-for-custom-headers/client-omits").does(
    "Mirrors what is not there.", with_header("mcp-param-a", "null", "POST")
)
table.client("calls-all", "schema-extension/client-leaves-out").does(
    "Offers tools whose annotations are broken.",
    adds(
        "tools/call",
        lambda value: {
            **value,
            "id": "bad",
            "params": {**value["params"], "name": "bad_number", "arguments": {}},
        },
    ),
)
