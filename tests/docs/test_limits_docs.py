"""The page on limits names every default as it is."""

import re

import pytest

from mcpcore.auth.introspection import CacheLimits
from mcpcore.auth.keysets import KeySetLimits
from mcpcore.auth.proofs import ProofRules
from mcpcore.auth.settings import AuthorizationSettings
from mcpcore.engine.config import Limits
from mcpcore.http.settings import HttpSettings
from mcpcore.policy import screening, trust
from mcpcore.relay.settings import RelaySettings
from mcpcore_transports.client.core import ClientSettings
from mcpcore_transports.client.tasks import TaskOptions
from mcpcore_transports.gateway.settings import GatewaySettings, SignInSettings
from mcpcore_transports.http1.settings import HttpServerSettings
from mcpcore_transports.server.settings import RuntimeSettings
from mcpcore_transports.stores.base import StoreSettings
from mcpcore_transports.stream.settings import ConnectionSettings, ProcessSettings, StdioSettings
from tests.docs.blocks import ROOT

PAGE = (ROOT / "docs" / "reference" / "limits.md").read_text(encoding="utf-8")
SETTINGS = (
    HttpSettings(),
    HttpServerSettings(),
    Limits(),
    RuntimeSettings(),
    ConnectionSettings(),
    ProcessSettings(),
    StdioSettings(),
    ClientSettings(),
    TaskOptions(),
    AuthorizationSettings(),
    CacheLimits(),
    KeySetLimits(),
    ProofRules(),
    RelaySettings(),
    GatewaySettings(),
    SignInSettings(url="https://gateway.example/mcp"),
    StoreSettings(),
)
CLASSES: dict[str, object] = {type(each).__name__: each for each in SETTINGS}
CLASSES |= {"screening": screening, "trust": trust}
ROW = re.compile(r"^\| [^|]+ \| `(\w+)\.(\w+)`[^|]*\| ([\d,.]+) ?(\w*) \|", re.MULTILINE)
UNITS = {"": 1, "s": 1, "KiB": 1024, "MiB": 1024 * 1024}


@pytest.mark.parametrize(("owner", "name", "number", "unit"), ROW.findall(PAGE))
def test_default(owner: str, name: str, number: str, unit: str) -> None:
    assert getattr(CLASSES[owner], name) == float(number.replace(",", "")) * UNITS[unit]


def test_every_row_of_a_setting_was_looked_at() -> None:
    rows = [line for line in PAGE.splitlines() if re.match(r"\| [^|]+\| `\w+\.", line)]
    assert len(rows) == len(ROW.findall(PAGE)) > 25
