"""What the authorization pages demand of clients: each rule is held by cases that ours passes."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from mcpcore_conformance.kit.client_play import play_client
from mcpcore_conformance.kit.client_talk import ClientTiming
from mcpcore_conformance.kit.model import Binding, Side, Verdict
from mcpcore_conformance.requirements import REQUIREMENTS
from mcpcore_conformance.run.registry import all_cases
from tests.warm import CLIENT, warm_program

CASES = {each.id: each for each in all_cases() if each.side is Side.CLIENT}
TIMING = ClientTiming(start=60.0, answer=30.0, exit=60.0)

PAGE = "basic/authorization"
FALLBACKS = f"{PAGE}/fallbacks-for-servers-without-metadata-discovery"
DISCOVERY = f"{PAGE}/authorization-server-discovery"
RESOURCE = f"{DISCOVERY}/protected-resource-metadata-discovery-requirements"
SERVER = f"{DISCOVERY}/authorization-server-metadata-discovery"
LOCATION = f"{DISCOVERY}/authorization-server-location"
REGISTRATION = f"{PAGE}/client-registration"
APPLICATION = f"{REGISTRATION}/application-type-and-redirect-uri-constraints"
INDEX = f"{PAGE}/index"
SCOPES = f"{INDEX}/scope-selection-strategy"
STEP_UP = f"{INDEX}/step-up-authorization-flow"
RESPONSE = f"{INDEX}/authorization-response-validation"
NAMED = f"{INDEX}/resource-parameter-implementation"
TOKENS = f"{INDEX}/token-requirements"
REFRESH = f"{INDEX}/refresh-tokens"
SECURITY = f"{PAGE}/security-considerations"
CODE = f"{SECURITY}/authorization-code-protection"
REDIRECTION = f"{SECURITY}/open-redirection"

proves = pytest.mark.requirement

PROVEN: tuple[tuple[Any, ...], ...] = (
    (proves("basic/authorization/access-metadata"), f"{SERVER}/client-endpoints"),
    (
        proves("basic/authorization/metadata-client", "basic/authorization/base-url"),
        f"{PAGE}/authorization-base-url/client-metadata-at-root",
    ),
    (proves("basic/authorization/metadata-first"), f"{FALLBACKS}/client-metadata-first"),
    (proves("basic/authorization/fallback-paths"), f"{FALLBACKS}/client-default-paths"),
    (
        proves("basic/authorization/registration-supported"),
        f"{PAGE}/dynamic-client-registration/client-registers",
    ),
    (
        proves("basic/authorization/version-header"),
        f"{PAGE}/server-metadata-discovery-headers/client-version-header",
    ),
    (
        proves("basic/authorization/authorization-server-discovery/registration-per-issuer"),
        f"{LOCATION}/client-state-per-server",
    ),
    (
        proves("basic/authorization/authorization-server-discovery/both-mechanisms"),
        f"{RESOURCE}/client-challenged-place",
        f"{RESOURCE}/client-path-first",
        f"{RESOURCE}/client-root-then",
    ),
    (
        proves("basic/authorization/authorization-server-discovery/parse-challenge"),
        f"{RESOURCE}/client-challenge-syntax",
    ),
    (
        proves(
            "basic/authorization/authorization-server-discovery/several-endpoints",
            "basic/authorization/index/client-both-discoveries",
        ),
        f"{SERVER}/client-openid",
    ),
    (
        proves("basic/authorization/authorization-server-discovery/order-with-path"),
        f"{SERVER}/client-order-with-path",
    ),
    (
        proves("basic/authorization/authorization-server-discovery/order-without-path"),
        f"{SERVER}/client-order-without-path",
    ),
    (
        proves("basic/authorization/authorization-server-discovery/issuer-identical"),
        f"{SERVER}/client-issuer-identical",
    ),
    (
        proves(
            "basic/authorization/authorization-server-discovery/use-protected-resource-metadata"
        ),
        f"{LOCATION}/client-named-server",
    ),
    (
        proves(
            "basic/authorization/client-registration/priority",
            "basic/authorization/client-registration/metadata-documents",
        ),
        f"{REGISTRATION}/pre-registration/client-before-others",
        f"{REGISTRATION}/client-id-metadata-documents/client-before-registration",
    ),
    (
        proves(
            "basic/authorization/client-registration/metadata-document-rules",
            "basic/authorization/client-registration/document-on-https",
            "basic/authorization/client-registration/client-id-form",
        ),
        f"{REGISTRATION}/implementation-requirements/client-id-form",
    ),
    (
        proves("basic/authorization/client-registration/check-support"),
        f"{REGISTRATION}/advertising-cimd-support/client-looks",
    ),
    (
        proves("basic/authorization/client-registration/static-credentials"),
        f"{REGISTRATION}/pre-registration/client-credentials",
    ),
    (
        proves("basic/authorization/client-registration/application-type"),
        f"{APPLICATION}/client-application-type",
    ),
    (
        proves("basic/authorization/client-registration/native-type"),
        f"{APPLICATION}/client-fitting-type",
    ),
    (
        proves("basic/authorization/client-registration/registration-failures"),
        f"{APPLICATION}/client-registration-refused",
    ),
    (
        proves("basic/authorization/client-registration/registration-error-shown"),
        f"{APPLICATION}/client-refusal-shown",
    ),
    (
        proves("basic/authorization/client-registration/bound-to-issuer"),
        f"{REGISTRATION}/authorization-server-binding/client-registers-anew",
    ),
    (
        proves("basic/authorization/client-registration/mismatch-surfaced"),
        f"{REGISTRATION}/authorization-server-binding/client-mismatch-told",
    ),
    (
        proves("basic/authorization/index/obtain-client-id"),
        f"{REGISTRATION}/client-registration/client-own-id",
    ),
    (
        proves(
            "basic/authorization/index/no-scope-assumptions",
            "basic/authorization/index/challenge-authoritative",
        ),
        f"{SCOPES}/client-challenge-decides",
    ),
    (proves("basic/authorization/index/least-privilege"), f"{SCOPES}/client-challenged-scopes"),
    (
        proves("basic/authorization/index/scope-priority"),
        f"{SCOPES}/client-challenged-scopes",
        f"{SCOPES}/client-supported-scopes",
        f"{SCOPES}/client-no-scopes",
    ),
    (proves("basic/authorization/index/keep-granted-scopes"), f"{STEP_UP}/client-keeps-scopes"),
    (proves("basic/authorization/index/step-up"), f"{STEP_UP}/client-asks-for-more"),
    (proves("basic/authorization/index/step-up-limits"), f"{STEP_UP}/client-bounded"),
    (
        proves("basic/authorization/index/record-issuer", "basic/authorization/index/validate-iss"),
        f"{RESPONSE}/client-right-issuer",
        f"{RESPONSE}/client-wrong-issuer",
        f"{RESPONSE}/client-missing-issuer",
    ),
    (proves("basic/authorization/index/iss-exact"), f"{RESPONSE}/client-issuer-as-text"),
    (proves("basic/authorization/index/iss-errors-too"), f"{RESPONSE}/client-errors-too"),
    (
        proves(
            "basic/authorization/index/resource-indicators",
            "basic/authorization/index/resource-both-requests",
        ),
        f"{NAMED}/client-both-requests",
        f"{NAMED}/client-refresh",
    ),
    (proves("basic/authorization/index/resource-names-server"), f"{NAMED}/client-names-server"),
    (
        proves("basic/authorization/index/resource-canonical"),
        f"{INDEX}/canonical-server-uri/client-canonical",
    ),
    (
        proves("basic/authorization/index/resource-specific"),
        f"{INDEX}/canonical-server-uri/client-specific",
    ),
    (
        proves("basic/authorization/index/token-rules"),
        f"{INDEX}/token-handling/client-server-alone",
    ),
    (
        proves(
            "basic/authorization/index/token-header",
            "basic/authorization/index/token-every-request",
        ),
        f"{TOKENS}/client-signed-in-every-request",
    ),
    (
        proves("basic/authorization/index/token-not-in-query"),
        f"{TOKENS}/client-signed-in-not-in-query",
    ),
    (
        proves("basic/authorization/index/no-foreign-tokens"),
        f"{INDEX}/token-handling/client-own-tokens",
    ),
    (proves("basic/authorization/index/refresh-confidential"), f"{REFRESH}/client-confidential"),
    (proves("basic/authorization/index/refresh-grant-type"), f"{REFRESH}/client-grant-type"),
    (proves("basic/authorization/index/refresh-not-assumed"), f"{REFRESH}/client-none-assumed"),
    (
        proves("basic/authorization/security-considerations/redirect-https"),
        f"{SECURITY}/communication-security/client-redirect-uri",
    ),
    (proves("basic/authorization/security-considerations/pkce"), f"{CODE}/client-pkce"),
    (
        proves("basic/authorization/security-considerations/pkce-s256"),
        f"{CODE}/client-s256",
        f"{CODE}/client-no-plain",
    ),
    (
        proves(
            "basic/authorization/security-considerations/pkce-verified",
            "basic/authorization/security-considerations/pkce-oauth-absent",
        ),
        f"{CODE}/client-pkce-absent",
    ),
    (
        proves("basic/authorization/security-considerations/pkce-oidc-absent"),
        f"{CODE}/client-pkce-absent-openid",
    ),
    (
        proves("basic/authorization/security-considerations/redirects-registered"),
        f"{REDIRECTION}/client-registered-redirect",
    ),
    (
        proves("basic/authorization/security-considerations/state"),
        f"{REDIRECTION}/client-state",
        f"{REDIRECTION}/client-wrong-state",
        f"{REDIRECTION}/client-missing-state",
    ),
)
"""Rules, and the cases that hold them, each in the newest revision of the rule that has it."""


@pytest.fixture(scope="module")
def warm() -> Iterator[Sequence[str]]:
    """Our client, but for its start."""
    with warm_program(CLIENT) as words:
        yield words


def test_the_cases_are_as_strong_as_their_rules_and_are_there_in_their_revisions() -> None:
    rows = {each.id: each for each in REQUIREMENTS}
    for mark, *ids in PROVEN:
        cases = [CASES[id] for id in ids]
        for name in mark.args:
            row = rows[name]
            assert {str(case.strength) for case in cases} == {row.strength.value}, name
            for revision in (row.revisions.first, row.revisions.last):
                assert any(case.holds_in(revision) for case in cases), (name, revision.name)


@pytest.mark.anyio
@pytest.mark.long
@pytest.mark.parametrize(
    "ids",
    [pytest.param(ids, marks=mark, id=ids[0].removeprefix(f"{PAGE}/")) for mark, *ids in PROVEN],
)
async def test_our_client_keeps_the_rule(ids: list[str], warm: Sequence[str]) -> None:
    for id in ids:
        case = CASES[id]
        result = await play_client(
            case, warm, Binding.HTTP, case.revisions.last, timing=TIMING, limit=600.0
        )
        assert (result.verdict, result.detail) == (Verdict.PASSED, "")
