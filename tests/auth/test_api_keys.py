"""API keys: their text, their records, and who comes in with one."""

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpcore.auth.api_keys import KEY, ApiKey, ApiKeys, digest_of, key_id, make_key

WALL = 1_000_000.0
ID, TEXT = make_key(bytes(range(40)))


def record(text: str = TEXT, **changed: Any) -> ApiKey:
    fields = {"id": key_id(text) or "", "digest": digest_of(text), "principal": "anna"} | changed
    return ApiKey(**fields)


@given(st.binary(min_size=40, max_size=40))
def test_a_key_that_is_made_is_one(random: bytes) -> None:
    id, text = make_key(random)
    assert KEY.fullmatch(text)
    assert key_id(text) == id
    assert make_key(random) == (id, text)


@pytest.mark.parametrize("size", [0, 39, 41])
def test_a_key_takes_its_random_bytes(size: int) -> None:
    with pytest.raises(ValueError, match="40 random bytes"):
        make_key(bytes(size))


WRONG = [
    "",
    "mck_",
    TEXT[:-1],
    TEXT + "0",
    TEXT + "\n",
    TEXT.upper(),
    TEXT.replace("mck", "mcl"),
    TEXT[:-1] + ("0" if TEXT[-1] != "0" else "1"),
    TEXT[:20] + ("A" if TEXT[20] != "A" else "B") + TEXT[21:],
    "é" + TEXT,
]


@pytest.mark.parametrize("text", WRONG)
def test_a_mistyped_key_is_none(text: str) -> None:
    assert key_id(text) is None
    assert ApiKeys([record()]).find(text, wall=WALL) is None


def test_a_key_is_found_by_its_whole_text() -> None:
    keys = ApiKeys([record()])
    assert keys.find(TEXT, wall=WALL) == record()
    assert len(keys) == 1
    _, other = make_key(bytes(range(8)) + bytes(32))  # the same id, another secret
    assert key_id(other) == ID
    assert keys.find(other, wall=WALL) is None
    assert ApiKeys().find(TEXT, wall=WALL) is None
    assert ApiKeys().find("", wall=WALL) is None


def test_a_record_holds_no_key() -> None:
    assert TEXT not in repr(record()) + msgspec.json.encode(record()).decode()
    assert TEXT.split("_")[2][:40] not in repr(record())


@pytest.mark.parametrize(
    ("expires", "found"), [(None, True), (WALL + 1, True), (WALL, False), (0, False)]
)
def test_a_key_expires(expires: float | None, found: bool) -> None:
    keys = ApiKeys([record(expires_at=expires)])
    assert (keys.find(TEXT, wall=WALL) is not None) is found


def test_keys_overlap_and_are_revoked() -> None:
    _, later = make_key(bytes(40))
    keys = ApiKeys([record()])
    keys.replace([record(), record(later)])
    assert [keys.find(each, wall=WALL) is None for each in (TEXT, later)] == [False, False]
    keys.replace([record(later)])
    assert [keys.find(each, wall=WALL) is None for each in (TEXT, later)] == [True, False]


def test_two_keys_have_two_ids() -> None:
    keys = ApiKeys([record()])
    with pytest.raises(ValueError, match="same id"):
        keys.replace([record(principal="a"), record(principal="b")])
    assert keys.find(TEXT, wall=WALL) == record()


@pytest.mark.parametrize("digest", ["", TEXT, digest_of(TEXT).upper(), digest_of(TEXT) + "\n"])
def test_a_record_holds_a_digest(digest: str) -> None:
    with pytest.raises(ValueError, match="the digest of an API key is a SHA-256 in hexadecimal"):
        record(digest=digest)


@pytest.mark.parametrize("principal", ["", "a\nb", "a\x00"])
def test_a_record_names_a_principal(principal: str) -> None:
    with pytest.raises(ValueError, match="the principal of an API key has a printable name"):
        record(principal=principal)


@pytest.mark.parametrize("expires", [1_764_000_000_000, 253_402_300_800.0, math.inf, math.nan])
def test_a_key_does_not_end_in_a_time_that_never_comes(expires: float) -> None:
    with pytest.raises(ValueError, match="so many seconds after 1970, no milliseconds"):
        record(expires_at=expires)
    assert record(expires_at=253_402_300_799.0).expires_at == 253_402_300_799.0


def test_a_record_is_held_with_all_that_it_says() -> None:
    other = make_key(b"x" * 40)[1]
    keys = ApiKeys([record()])
    assert keys.holds(record())
    assert not keys.holds(record(other))
    for changed in (
        {"digest": digest_of(other)},
        {"principal": "somebody else"},
        {"scopes": ("more",)},
        {"roles": ("more",)},
        {"expires_at": WALL},
    ):
        assert not keys.holds(record(**changed)), changed
