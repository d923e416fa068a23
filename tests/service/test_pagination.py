"""Cursors and the pages of a changing list."""

import base64
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from mcpcore.service.handlers import Declaration, Handler, Visible
from mcpcore.service.pagination import Collection, Cursors
from mcpcore.spec.errors import INVALID_PARAMS, McpError
from mcpcore.spec.revisions import LATEST, LATEST_LEGACY, REVISIONS, Revision
from tests.clock import PATIENCE


class Thing(Declaration):
    def __init__(
        self,
        name: str,
        looked_at: Callable[[str], object] = lambda name: None,
        visible: Visible | None = None,
    ) -> None:
        super().__init__(Handler(lambda: name), visible)
        self.name = name
        self.looked_at = looked_at

    def encode(self, revision: Revision, apps: bool = True) -> bytes:
        self.looked_at(self.name)
        return msgspec.json.encode(self.name)


class Things(Collection[Thing]):
    """A collection of names."""

    looked_at: Callable[[str], object] = staticmethod(lambda name: None)
    sees: Callable[[str], Visible | None] = staticmethod(lambda name: None)

    def put(self, key: str, name: str, *, replace: bool = False) -> None:
        self.add(key, Thing(name, self.looked_at, self.sees(name)), replace=replace)

    def name_of(self, key: str, principal: str | None = None) -> str | None:
        thing = self.get(key, principal)
        return None if thing is None else thing.name


def collection(page_size: int = 2, calls: list[str] | None = None) -> Things:
    things = Things(
        "thing",
        "things",
        scope="test",
        hints=b'"ttlMs":5,"cacheScope":"public"',
        private=b'"ttlMs":5,"cacheScope":"private"',
        page_size=page_size,
        changed=lambda: None,
    )
    if calls is not None:
        things.looked_at = calls.append
    return things


def page(of: Things, cursor: str | None = None, revision: Revision = LATEST) -> Any:
    return msgspec.json.decode(of.page(cursor, revision))


@given(st.integers(0, 2**48 - 1))
def test_cursors_come_back(number: int) -> None:
    cursors = Cursors("a")
    cursor = cursors.make(number)
    assert cursors.read(cursor) == number
    with pytest.raises(McpError):
        Cursors("b").read(cursor)


GOOD = Cursors("a").make(3)


@pytest.mark.requirement(
    "server/utilities/pagination/cursor-error", "server/utilities/pagination/invalid-cursors"
)
@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "1",
        "x",
        "not base64!",
        "ümlaut",
        "\ud800",
        GOOD[:-1],
        GOOD + "A",
        GOOD + "=",
        GOOD + "\n",
        " " + GOOD,
        GOOD.swapcase(),
        base64.urlsafe_b64encode(b"\0" * 14).decode(),
        base64.urlsafe_b64encode(b"\0" * 5).decode(),
        "A" * 10_000,
        Cursors("b").make(3),
    ],
)
def test_foreign_cursors_are_bad_params(cursor: str) -> None:
    with pytest.raises(McpError, match="cursor: not a cursor of this list") as caught:
        Cursors("a").read(cursor)
    assert caught.value.code == INVALID_PARAMS


@pytest.mark.requirement("server/utilities/pagination/invalid-cursors")
@given(st.binary(max_size=20).map(lambda data: base64.urlsafe_b64encode(data).decode()))
def test_forged_cursors_are_found_out(cursor: str) -> None:
    with pytest.raises(McpError):
        Cursors("a").read(cursor)


def test_spare_bits_do_not_make_a_second_cursor() -> None:
    # 14 bytes leave 4 bits of the last character unused
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    accepted = []
    for character in last:
        try:
            Cursors("a").read(GOOD[:-1] + character)
        except McpError:
            continue
        accepted.append(character)
    assert accepted == [GOOD[-1]]


@pytest.mark.requirement("server/utilities/caching/hints", "server/utilities/caching/scope-same")
def test_pages() -> None:
    things = collection()
    for name in "abcde":
        things.put(name, name.upper())
    first = page(things)
    assert first == {
        "things": ["A", "B"],
        "nextCursor": first["nextCursor"],
        "ttlMs": 5,
        "cacheScope": "public",
    }
    second = page(things, first["nextCursor"])
    assert second["things"] == ["C", "D"]
    third = page(things, second["nextCursor"])
    assert third["things"] == ["E"]
    assert "nextCursor" not in third
    things.remove("e")  # no cursor where the last page is full
    assert "nextCursor" not in page(things, first["nextCursor"])
    assert "ttlMs" not in page(things, revision=LATEST_LEGACY)


def test_an_empty_list_has_a_page() -> None:
    assert page(collection(), revision=LATEST_LEGACY) == {"things": []}


def meddling(visible: bool) -> tuple[Things, list[Callable[[], object]]]:
    """A collection, and what happens to it when one of its items is next looked at."""
    meanwhile: list[Callable[[], object]] = []

    def meddle(name: str = "") -> None:
        if meanwhile:
            meanwhile.pop()()

    def sees(principal: str | None) -> bool:
        meddle()
        return principal == "ada"

    things = collection(page_size=10)
    things.looked_at = meddle
    things.sees = lambda name: sees if visible or name == "secret" else None
    for name in "abc":
        things.put(name, name)
    return things, meanwhile


@pytest.mark.parametrize("visible", [True, False])
@pytest.mark.parametrize(
    ("change", "after"),
    [
        (lambda things: things.put("d", "d"), "abcd"),
        (lambda things: things.remove("b"), "ac"),
        (lambda things: things.put("b", "B", replace=True), "aBc"),
    ],
)
def test_what_changes_while_it_is_listed_is_in_the_next_list(
    change: Callable[[Things], object], after: str, visible: bool
) -> None:
    things, meanwhile = meddling(visible)
    meanwhile.append(lambda: change(things))
    during = msgspec.json.decode(things.page(None, LATEST, "ada"))["things"]
    assert meanwhile == []
    assert during == ["a", "b", "c"]
    assert msgspec.json.decode(things.page(None, LATEST, "ada"))["things"] == [*after]


def test_what_changes_while_it_is_gone_through_is_no_error() -> None:
    things, _ = meddling(visible=False)
    for seen in (iter(things), things.seen_by(None)):
        assert next(seen).name == "a"
        things.put("more", "more", replace=True)
        assert [each.name for each in seen][:2] == ["b", "c"]
        things.remove("more")


def test_what_is_hidden_while_it_is_listed_stays_hidden() -> None:
    things, meanwhile = meddling(visible=False)
    meanwhile.append(lambda: things.put("s", "secret"))
    for principal, seen in (("bob", "abc"), ("bob", "abc"), (None, "abc")):
        found = msgspec.json.decode(things.page(None, LATEST, principal))
        assert found["things"] == [*seen]
    assert things.name_of("s", "bob") is None
    assert things.name_of("s", "ada") == "secret"
    found = msgspec.json.decode(things.page(None, LATEST, "ada"))
    assert (found["things"], found["cacheScope"]) == (["a", "b", "c", "secret"], "private")


def test_threads_that_add_at_the_same_time_lose_nothing() -> None:
    things = collection(page_size=3)
    names = [f"{number:03}" for number in range(200)]
    taken: list[str] = []
    together = threading.Barrier(4)

    def add() -> None:
        together.wait(PATIENCE)
        for name in names:
            try:
                things.put(name, name)
            except ValueError:
                taken.append(name)

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(taken) == sorted(names * 3)
    listed: list[str] = []
    cursor: str | None = None
    while True:
        found = page(things, cursor)
        listed += found["things"]
        if (cursor := found.get("nextCursor")) is None:
            break
    assert sorted(listed) == names


def test_pages_are_encoded_once_for_a_revision_until_something_changes() -> None:
    calls: list[str] = []
    things = collection(calls=calls)
    for name in "abc":
        things.put(name, name)

    def pages(revision: Revision) -> list[Raw]:
        first = things.page(None, revision)
        return [first, things.page(msgspec.json.decode(first)["nextCursor"], revision)]

    changes: list[Callable[[], object]] = [
        lambda: None,
        lambda: things.put("d", "d"),
        lambda: things.put("d", "d", replace=True),
        lambda: things.remove("d"),
    ]
    for change in changes:
        change()
        calls.clear()
        for revision in REVISIONS:
            first = pages(revision)
            assert all(again is page for again, page in zip(pages(revision), first, strict=True))
        assert Counter(calls) == dict.fromkeys((each.name for each in things), len(REVISIONS))


@pytest.mark.requirement("server/utilities/pagination/stable-cursors")
@given(st.lists(st.tuples(st.sampled_from(["add", "remove"]), st.integers(0, 9)), max_size=30))
def test_paging_through_changes_skips_and_repeats_nothing(
    changes: list[tuple[str, int]],
) -> None:
    things = collection(page_size=3)
    for number in range(10):
        things.put(f"old{number}", f"old{number}")
    seen: list[str] = []
    cursor = None
    removed = set()
    while True:
        got = page(things, cursor)
        seen += got["things"]
        if (cursor := got.get("nextCursor")) is None:
            break
        for kind, number in changes[:5]:
            if kind == "add" and f"new{number}" not in things:
                things.put(f"new{number}", f"new{number}")
            elif kind == "remove" and f"old{number}" in things:
                things.remove(f"old{number}")
                removed.add(f"old{number}")
        del changes[:5]
    assert len(seen) == len(set(seen))
    assert {f"old{number}" for number in range(10)} - removed <= set(seen)
    assert seen == sorted(seen, key=lambda name: (name.startswith("new"), seen.index(name)))


def test_replacing_keeps_the_place() -> None:
    things = collection(page_size=9)
    for name in "abc":
        things.put(name, name)
    with pytest.raises(ValueError, match="thing 'b' is declared already"):
        things.put("b", "B")
    things.put("b", "B", replace=True)
    assert page(things)["things"] == ["a", "B", "c"]
    things.put("d", "D", replace=True)
    assert [each.name for each in things] == ["a", "B", "c", "D"]
    assert len(things) == 4
    assert things.name_of("b") == "B"
    assert things.name_of("z") is None
    with pytest.raises(KeyError, match="there is no thing 'z'"):
        things.remove("z")


def test_forged_cursors_do_not_fill_the_cache() -> None:
    things = collection()
    things.put("a", "a")
    cursors = Cursors("test\nthings")
    for number in range(100):
        assert page(things, cursors.make(number + 1))["things"] == []
        things.page(cursors.make(number + 1), LATEST, "somebody")
    assert all(0 < len(pages) <= 2 * len(REVISIONS) for pages in things._pages)
