"""Texts that a decoder may read alike, and times of tasks."""

import base64

import pytest

from mcpcore_conformance.kit.readings import read_alike
from mcpcore_conformance.kit.tasks import time_of
from mcpcore_conformance.kit.verdicts import Broken

SEAL = bytes(range(100, 131))
PADDED = base64.urlsafe_b64encode(SEAL).decode()
PLAIN = PADDED.rstrip("=")
DIGITS = SEAL.hex()
CHANGED = base64.urlsafe_b64encode(bytes([*SEAL[:-1], 0])).decode()


@pytest.mark.parametrize(
    ("given", "other", "alike"),
    [
        (PADDED, PADDED, True),
        (PADDED, f"{PADDED}-TAMPERED", True),
        (PADDED, PADDED[:-1], True),
        (f"{PADDED}.{PADDED}", f"{PADDED}.{PADDED}x", True),
        (f"{PADDED}.{PADDED}", f"{PADDED}.x{PADDED}", False),
        (f"{PADDED}.{PADDED}", PADDED, False),
        (PADDED, CHANGED, False),
        (PADDED, "", False),
        # of the last of two characters only two bits count
        (PLAIN, f"{PLAIN[:-1]}{chr(ord(PLAIN[-1]) + 1)}", True),
        (PLAIN, f"{PLAIN[:-2]}A{PLAIN[-1]}", False),
        (PLAIN, f"{PLAIN}-TAMPERED", False),
        (PLAIN, PLAIN[:-1], False),
        (DIGITS, DIGITS.upper(), True),
        (DIGITS, f"{DIGITS}-TAMPERED", True),
        (DIGITS, DIGITS[:-1], False),
        (DIGITS, f"x{DIGITS}", False),
        ("MTA=", "MTA=x", True),
        ("MTA=", "MTE=", False),
        # what is no encoded text is what it says
        ("17", "18", False),
        ("round-2", "round-3", False),
        ('{"step": 17, "of": "the whole"}', '{"step": 18, "of": "the whole"}', False),
    ],
)
def test_what_is_read_alike(given: str, other: str, alike: bool) -> None:
    assert read_alike(given, other) is alike


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("2026-01-02T03:04:05.12Z", "2026-01-02T03:04:05.123Z"),
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05.1Z"),
        ("2026-01-02T03:04:05+02:00", "2026-01-02T03:04:05Z"),
        ("2026-01-02T03:04Z", "2026-01-02T03:04:00.000000001+00:00"),
    ],
)
def test_times_are_compared_as_times(earlier: str, later: str) -> None:
    assert time_of(earlier, "createdAt") <= time_of(later, "lastUpdatedAt")


@pytest.mark.parametrize("text", ["today", "", 1764066600, None, "2026-13-02T03:04:05Z"])
def test_what_is_no_time_is_found(text: object) -> None:
    with pytest.raises(Broken, match="not a time of ISO 8601"):
        time_of(text, "createdAt")
