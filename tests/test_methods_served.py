"""Each method of the table has one place that serves it, those that CONTRIBUTING.md lists."""

from collections import Counter
from collections.abc import Collection

import pytest

from mcpcore.engine import inbound
from mcpcore.service import server as service
from mcpcore.spec.methods import METHODS, Method, MethodKind
from mcpcore_transports.client import callbacks, core
from mcpcore_transports.server.tasks import requests as tasks

Names = Collection[str]

BY_SERVER: tuple[Names, ...] = (
    inbound.ANSWERED_HERE,
    service._METHODS,
    tasks.METHODS,
    {"tools/call"},  # `Server.prepare`, as it has tools of its own to look up
)
BY_CLIENT: tuple[Names, ...] = (callbacks._ANSWERS, tasks.METHODS, {"ping"})


def rows(sender: str) -> list[Method]:
    return [row for row in METHODS if row.kind is MethodKind.REQUEST and getattr(row, sender)]


@pytest.mark.parametrize(
    ("sender", "tables"), [("client", BY_SERVER), ("server", BY_CLIENT), ("embedded", BY_CLIENT)]
)
def test_each_request_is_served_in_one_place(sender: str, tables: tuple[Names, ...]) -> None:
    served = Counter(name for table in tables for name in table)
    assert {row.name: served[row.name] for row in rows(sender)} == {
        row.name: 1 for row in rows(sender)
    }


def test_each_news_of_a_server_has_a_callback_or_is_the_engines() -> None:
    told = {
        row.name
        for row in METHODS
        if row.kind is MethodKind.NOTIFICATION and row.server is not None
    }
    own = {
        *inbound._CONSUMED,
        "notifications/subscriptions/acknowledged",
        "notifications/tasks",
        "notifications/tasks/status",
    }
    assert told - own == set(core._CALLBACKS)
