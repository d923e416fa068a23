"""Authorization in virtual time: seeds that must keep all rules, and bugs that must break one."""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import pytest

from mcpcore.auth import authorization, registration
from mcpcore.auth.authorization import Authorization
from mcpcore.auth.endpoints import Endpoints
from mcpcore.auth.needs import Lock
from mcpcore.errors import AuthorizationError
from tests.shares import Some
from tests.simulation.authorization import KINDS, Play, play

QUICK = 150
LONG = 4_000


@pytest.mark.parametrize(
    ("first", "count"), [(0, QUICK), pytest.param(QUICK, LONG, marks=pytest.mark.long)]
)
def test_all_rules_are_kept(first: int, count: int, some: Some) -> None:
    count = max(QUICK, some.of(count))
    counts: dict[str, int] = {}
    for seed in range(first, first + count):
        outcome = play(seed)
        assert outcome.breach is None, f"python -m tests.simulation.authorization --seed {seed}"
        for name, number in outcome.counts.items():
            counts[name] = counts.get(name, 0) + number
    # It comes to all that can come of a flow, and not to ends alone.
    assert set(counts) == {
        *("accepted", "asked", "failed", "given up", "idle", "ready", "refresh", "reuse"),
    }
    assert counts["accepted"] > 10 * count


def test_the_same_seed_is_the_same_run() -> None:
    digests = {seed: play(seed).digest for seed in range(20)}
    assert digests == {seed: play(seed).digest for seed in digests}
    assert len(set(digests.values())) == len(digests)


def test_all_that_may_go_wrong_does_somewhere() -> None:
    drawn = {kind for seed in range(60) for kind, rate in Play(seed).rates.items() if rate}
    assert drawn == set(KINDS)


# Bugs, each in one place of the machine


def _own_record(patch: pytest.MonkeyPatch) -> None:
    """What the store holds by now is not looked at."""
    load = Authorization._load

    def own(self: Authorization) -> Any:
        stored = yield from load(self)
        return self._record or stored

    patch.setattr(Authorization, "_load", own)


def _lock_kept(patch: pytest.MonkeyPatch) -> None:
    def authorizing(self: Authorization, reason: Any) -> Any:
        try:
            yield Lock(key=self.key)
            yield from self._locked(reason)
        except AuthorizationError as error:
            self._fail(error)

    patch.setattr(Authorization, "_authorizing", authorizing)


def _any_callback(patch: pytest.MonkeyPatch) -> None:
    """Neither state nor issuer of a callback count."""

    def code(query: str, *_: object) -> str:
        params = parse_qs(query)
        if "code" not in params:
            raise AuthorizationError("refused")
        return params["code"][0]

    patch.setattr(authorization, "read_code", code)


def _any_number(patch: pytest.MonkeyPatch) -> None:
    reason = Authorization._reason

    def anew(self: Authorization, *given: Any) -> Any:
        self._tried.clear()
        return reason(self, *given)

    patch.setattr(Authorization, "_reason", anew)


def _one_client(patch: pytest.MonkeyPatch) -> None:
    """A registration serves all issuers."""
    patch.setattr(registration, "client_key", lambda *_: "client")
    patch.setattr(registration, "_serves", lambda *_: True)


def _any_endpoint(patch: pytest.MonkeyPatch) -> None:
    """A registration serves its issuer at any token endpoint."""
    patch.setattr(registration, "_serves", lambda record, place, *_: record.issuer == place[0])


def _no_ceiling(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        Authorization,
        "_scopes",
        lambda self, authority, *_: authority.scopes | {"write", "offline_access"},
    )


def _constant(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Endpoints, "random", lambda _: "always-the-same-text-of-enough-characters-")


def _told_secret(patch: pytest.MonkeyPatch) -> None:
    """An error holds the token that was sent."""
    refreshed = Authorization._refreshed

    def told(self: Authorization, record: Any, token: str, reason: Any) -> Any:
        try:
            return (yield from refreshed(self, record, token, reason))
        except AuthorizationError as error:
            raise AuthorizationError(f"{error} ({token})") from None

    patch.setattr(Authorization, "_refreshed", told)


def _stuck(patch: pytest.MonkeyPatch) -> None:
    """Once authorized in vain, never again."""
    start = Authorization.start

    def once(self: Authorization, *given: Any, **named: Any) -> bool:
        if self.error is not None:
            raise AuthorizationError("it has failed before")
        return start(self, *given, **named)

    patch.setattr(Authorization, "start", once)


BUGS: tuple[tuple[Callable[[pytest.MonkeyPatch], None], str], ...] = (
    (_own_record, "a refresh token is used once"),
    (_lock_kept, "a flow leaves no lock"),
    (_any_callback, "no secret is sent to another issuer"),
    (_any_number, "an operation causes few flows"),
    (_one_client, "no secret is sent to another issuer"),
    (_any_endpoint, "no secret is sent to another issuer"),
    (_no_ceiling, "nothing is asked for beyond the ceiling"),
    (_constant, "a proof is used once"),
    (_told_secret, "no error holds a secret"),
    (_stuck, "in the end a request goes through"),
)
"""Bugs, and the rules that they break."""


@pytest.mark.parametrize(("bug", "rule"), BUGS)
def test_a_bug_breaks_its_rule(
    bug: Callable[[pytest.MonkeyPatch], None], rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bug(monkeypatch)
    breaches = (play(seed).breach for seed in range(600))
    assert any((breach or "").startswith(rule) for breach in breaches)
