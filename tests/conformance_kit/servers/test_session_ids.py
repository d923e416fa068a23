"""Session ids that are in order, and such that can be guessed: what differs decides."""

import base64
import hashlib
import json
from collections.abc import Callable
from itertools import count
from random import Random

import pytest

from conformance.mutants.fault import Fault
from mcpcore_conformance.kit.heard import Head, header
from mcpcore_conformance.kit.model import Binding, Verdict
from tests.conformance_kit.runs import cases_of, faulty, ran

SESSION = "mcp-session-id"
CASE = "basic/security_best_practices/session-hijacking/ids-not-deterministic"
CLAIMS = {
    "iss": "https://mcp.example.com/tenants/production",
    "aud": "https://mcp.example.com/mcp",
    "scope": "tools:read tools:call",
    "iat": 1_700_000_000,
}

Ids = Callable[[Random, int], str]
"""Makes the id of the session of that number."""


def _part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(random: Random, number: int) -> str:
    """A JWT: most of it is the same in all of them."""
    claims = {**CLAIMS, "jti": f"{random.getrandbits(128):032x}"}
    said = ".".join(_part(json.dumps(each).encode()) for each in ({"alg": "HS256"}, claims))
    return f"{said}.{_part(hashlib.sha256(said.encode()).digest())}"


def named(random: Random, number: int) -> str:
    """Of a node and a process, which are long names, with a random end."""
    node = "node-of-the-eastern-region-of-this-cloud-number-seven/process-4711"
    return f"{node}/{random.getrandbits(128):032x}"


RIGHT: tuple[Ids, ...] = (
    token,
    named,
    lambda random, _: f"{random.getrandbits(128):032x}",
    lambda random, _: f"{random.getrandbits(64):016x}",
    lambda random, _: f"{random.getrandbits(128):039d}",
)
WRONG: tuple[Ids, ...] = (
    lambda _, number: str(number),
    lambda _, number: f"{number:016x}",
    lambda _, number: f"node-7-process-4711-{1_700_000_000_000 + 7 * number}",
    lambda _, number: f"5f3c{number:04x}-7a1e-11ee-b962-0242ac120002",
    lambda _, number: f"0123456789abcdef0123456789abcdef0123456789abcdef/{100_000_007 * number}",
)


def issued(make: Ids) -> tuple[Callable[[], Fault], list[str]]:
    """A server's fault that gives such ids, and those it has given."""
    random, numbers, given = Random(7), count(1), list[str]()

    class Issues(Fault):
        def head(self, head: Head) -> Head:
            if header(head.headers, SESSION) is not None:
                given.append(make(random, next(numbers)))
                kept = [each for each in head.headers if each[0] != SESSION]
                head.headers = [*kept, (SESSION, given[-1])]
            return head

    return Issues, given


@pytest.mark.share(5)
@pytest.mark.parametrize(
    ("make", "verdict"),
    [*((each, Verdict.PASSED) for each in RIGHT), *((each, Verdict.FAILED) for each in WRONG)],
)
def test_what_differs_decides_and_no_id_is_shown_whole(make: Ids, verdict: Verdict) -> None:
    fault, given = issued(make)

    run = ran(faulty(Binding.HTTP, fault), cases_of(CASE))
    (found,) = (each for each in run.results if each.case.id == CASE)
    assert found.verdict is verdict, found.detail
    assert len(set(given)) >= 6
    assert not [each for each in given if len(each) > 1 and each in found.detail]
