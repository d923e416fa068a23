"""A server with a thousand tools: its list is encoded once, until it changes."""

from collections import Counter

import pytest
from msgspec import json

from mcpcore.service import Server
from mcpcore.service.handlers import Declaration, Handler
from mcpcore.service.pagination import Collection
from mcpcore.spec.revisions import REVISIONS, Revision

COUNT = 1_000


def shelf(page_size: int) -> Server:
    server = Server("shelf", page_size=page_size)
    for number in range(COUNT):
        server.add_tool(lambda text="": text, f"tool_{number}")
    return server


def listed(server: Server, revision: Revision, cursor: str | None = None) -> bytes:
    params = b"{}" if cursor is None else json.encode({"cursor": cursor})
    result = server.prepare("tools/list", params, revision).result
    assert result is not None
    return result


@pytest.mark.parametrize("revision", REVISIONS)
def test_the_list_is_the_same_object_until_it_changes(revision: Revision) -> None:
    server = shelf(page_size=2 * COUNT)
    first = listed(server, revision)
    assert len(json.decode(first)["tools"]) == COUNT
    assert all(listed(server, revision) is first for _ in range(5))

    server.add_tool(lambda: 1, "one_more")
    longer = listed(server, revision)
    assert len(json.decode(longer)["tools"]) == COUNT + 1
    assert listed(server, revision) is longer

    server.add_tool(lambda: 2, "one_more", replace=True)
    replaced = listed(server, revision)
    assert replaced is not longer
    assert listed(server, revision) is replaced

    server.remove_tool("one_more")
    assert bytes(listed(server, revision)) == bytes(first)


@pytest.mark.parametrize("revision", REVISIONS)
def test_so_is_every_page(revision: Revision) -> None:
    server = shelf(page_size=100)

    def pages() -> list[bytes]:
        found: list[bytes] = []
        cursor = None
        while not found or cursor is not None:
            found.append(listed(server, revision, cursor))
            cursor = json.decode(found[-1]).get("nextCursor")
        return found

    first = pages()
    assert len(first) == COUNT / 100
    assert all(again is page for again, page in zip(pages(), first, strict=True))


def test_each_item_is_encoded_once_for_a_revision() -> None:
    encoded: Counter[tuple[str, str]] = Counter()

    class Item(Declaration):
        def __init__(self, name: str) -> None:
            super().__init__(Handler(lambda: name))
            self.name = name

        def encode(self, revision: Revision, apps: bool = True) -> bytes:
            encoded[self.name, revision.name] += 1
            return json.encode(self.name)

    collection: Collection[Item] = Collection(
        "tool",
        "tools",
        scope="test",
        hints=b'"ttlMs":0',
        private=b'"ttlMs":0',
        page_size=COUNT,
        changed=lambda: None,
    )
    for number in range(COUNT):
        collection.add(str(number), Item(str(number)))
    assert not encoded
    for _ in range(3):
        for revision in REVISIONS:
            collection.page(None, revision)
    assert len(encoded) == COUNT * len(REVISIONS)
    assert set(encoded.values()) == {1}
    collection.remove("7")
    collection.page(None, REVISIONS[-1])
    assert encoded["7", REVISIONS[-1].name] == 1
    assert encoded["8", REVISIONS[-1].name] == 2
    assert encoded["8", REVISIONS[0].name] == 1
