"""What the authorization pages demand of clients: each rule is held by cases that ours passes."""

from collections.abc import Iterator, Sequence

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

PROVEN = [
    pytest.param(
        (f"{SERVER}/client-endpoints",),
        marks=pytest.mark.requirement("basic/authorization/access-metadata"),
    ),
    pytest.param(
        (f"{PAGE}/authorization-base-url/client-metadata-at-root",),
        marks=pytest.mark.requirement(
            "basic/authorization/metadata-client", "basic/authorization/base-url"
        ),
    ),
    pytest.param(
        (f"{FALLBACKS}/client-metadata-first",),
        marks=pytest.mark.requirement("basic/authorization/metadata-first"),
    ),
    pytest.param(
        (f"{FALLBACKS}/client-default-paths",),
        marks=pytest.mark.requirement("basic/authorization/fallback-paths"),
    ),
    pytest.param(
        (f"{PAGE}/dynamic-client-registration/client-registers",),
        marks=pytest.mark.requirement("basic/authorization/registration-supported"),
    ),
    pytest.param(
        (f"{PAGE}/server-metadata-discovery-headers/client-version-header",),
        marks=pytest.mark.requirement("basic/authorization/version-header"),
    ),
    pytest.param(
        (f"{LOCATION}/client-state-per-server",),
        marks=pytest.mark.requirement(
            "basic/authorization/authorization-server-discovery/registration-per-issuer"
        ),
    ),
    pytest.param(
        (
            f"{RESOURCE}/client-challenged-place",
            f"{RESOURCE}/client-path-first",
            f"{RESOURCE}/client-root-then",
        ),
        marks=pytest.mark.requirement(
            "basic/authorization/authorization-server-discovery/both-mechanisms"
        ),
    ),
    pytest.param(
        (f"{RESOURCE}/client-challenge-syntax",),
        marks=pytest.mark.requirement(
            "basic/authorization/authorization-server-discovery/parse-challenge"
        ),
    ),
    pytest.param(
        (f"{SERVER}/client-openid",),
        marks=pytest.mark.requirement(
            "basic/authorization/authorization-server-discovery/several-endpoints",
            "basic/authorization/index/client-both-discoveries",
        ),
    ),
    pytest.param(
        (f"{SERVER}/client-order-with-path",),
        marks=pytest.mark.requirement(
            "basic/authorization/authorization-server-discovery/order-with-path"
        ),
    ),
    pytest.param(
        (f"{SERVER}/client-order-without-path",),
        marks=pytest.mark.requirement(
            "basic/authorization/authorization-server-discovery/order-without-path"
        ),
    ),
    pytest.param(
        (f"{SERVER}/client-issuer-identical",),
        marks=pytest.mark.requirement(
            "basic/authorization/authorization-server-discovery/issuer-identical"
        ),
    ),
    pytest.param(
        (f"{LOCATION}/client-named-server",),
        marks=pytest.mark.requirement(
            "basic/authorization/authorization-server-discovery/use-protected-resource-metadata"
        ),
    ),
    pytest.param(
        (
            f"{REGISTRATION}/pre-registration/client-before-others",
            f"{REGISTRATION}/client-id-metadata-documents/client-before-registration",
        ),
        marks=pytest.mark.requirement(
            "basic/authorization/client-registration/priority",
            "basic/authorization/client-registration/metadata-documents",
        ),
    ),
    pytest.param(
        (f"{REGISTRATION}/implementation-requirements/client-id-form",),
        marks=pytest.mark.requirement(
            "basic/authorization/client-registration/metadata-document-rules",
            "basic/authorization/client-registration/document-on-https",
            "basic/authorization/client-registration/client-id-form",
        ),
    ),
    pytest.param(
        (f"{REGISTRATION}/advertising-cimd-support/client-looks",),
        marks=pytest.mark.requirement("basic/authorization/client-registration/check-support"),
    ),
    pytest.param(
        (f"{REGISTRATION}/pre-registration/client-credentials",),
        marks=pytest.mark.requirement("basic/authorization/client-registration/static-credentials"),
    ),
    pytest.param(
        (f"{APPLICATION}/client-application-type",),
        marks=pytest.mark.requirement("basic/authorization/client-registration/application-type"),
    ),
    pytest.param(
        (f"{APPLICATION}/client-fitting-type",),
        marks=pytest.mark.requirement("basic/authorization/client-registration/native-type"),
    ),
    pytest.param(
        (f"{APPLICATION}/client-registration-refused",),
        marks=pytest.mark.requirement(
            "basic/authorization/client-registration/registration-failures"
        ),
    ),
    pytest.param(
        (f"{APPLICATION}/client-refusal-shown",),
        marks=pytest.mark.requirement(
            "basic/authorization/client-registration/registration-error-shown"
        ),
    ),
    pytest.param(
        (f"{REGISTRATION}/authorization-server-binding/client-registers-anew",),
        marks=pytest.mark.requirement("basic/authorization/client-registration/bound-to-issuer"),
    ),
    pytest.param(
        (f"{REGISTRATION}/authorization-server-binding/client-mismatch-told",),
        marks=pytest.mark.requirement("basic/authorization/client-registration/mismatch-surfaced"),
    ),
    pytest.param(
        (f"{REGISTRATION}/client-registration/client-own-id",),
        marks=pytest.mark.requirement("basic/authorization/index/obtain-client-id"),
    ),
    pytest.param(
        (f"{SCOPES}/client-challenge-decides",),
        marks=pytest.mark.requirement(
            "basic/authorization/index/no-scope-assumptions",
            "basic/authorization/index/challenge-authoritative",
        ),
    ),
    pytest.param(
        (f"{SCOPES}/client-challenged-scopes",),
        marks=pytest.mark.requirement("basic/authorization/index/least-privilege"),
    ),
    pytest.param(
        (
            f"{SCOPES}/client-challenged-scopes",
            f"{SCOPES}/client-supported-scopes",
            f"{SCOPES}/client-no-scopes",
        ),
        marks=pytest.mark.requirement("basic/authorization/index/scope-priority"),
    ),
    pytest.param(
        (f"{STEP_UP}/client-keeps-scopes",),
        marks=pytest.mark.requirement("basic/authorization/index/keep-granted-scopes"),
    ),
    pytest.param(
        (f"{STEP_UP}/client-asks-for-more",),
        marks=pytest.mark.requirement("basic/authorization/index/step-up"),
    ),
    pytest.param(
        (f"{STEP_UP}/client-bounded",),
        marks=pytest.mark.requirement("basic/authorization/index/step-up-limits"),
    ),
    pytest.param(
        (
            f"{RESPONSE}/client-right-issuer",
            f"{RESPONSE}/client-wrong-issuer",
            f"{RESPONSE}/client-missing-issuer",
        ),
        marks=pytest.mark.requirement(
            "basic/authorization/index/record-issuer", "basic/authorization/index/validate-iss"
        ),
    ),
    pytest.param(
        (f"{RESPONSE}/client-issuer-as-text",),
        marks=pytest.mark.requirement("basic/authorization/index/iss-exact"),
    ),
    pytest.param(
        (f"{RESPONSE}/client-errors-too",),
        marks=pytest.mark.requirement("basic/authorization/index/iss-errors-too"),
    ),
    pytest.param(
        (
            f"{NAMED}/client-both-requests",
            f"{NAMED}/client-refresh",
        ),
        marks=pytest.mark.requirement(
            "basic/authorization/index/resource-indicators",
            "basic/authorization/index/resource-both-requests",
        ),
    ),
    pytest.param(
        (f"{NAMED}/client-names-server",),
        marks=pytest.mark.requirement("basic/authorization/index/resource-names-server"),
    ),
    pytest.param(
        (f"{INDEX}/canonical-server-uri/client-canonical",),
        marks=pytest.mark.requirement("basic/authorization/index/resource-canonical"),
    ),
    pytest.param(
        (f"{INDEX}/canonical-server-uri/client-specific",),
        marks=pytest.mark.requirement("basic/authorization/index/resource-specific"),
    ),
    pytest.param(
        (f"{INDEX}/token-handling/client-server-alone",),
        marks=pytest.mark.requirement("basic/authorization/index/token-rules"),
    ),
    pytest.param(
        (f"{TOKENS}/client-signed-in-every-request",),
        marks=pytest.mark.requirement(
            "basic/authorization/index/token-header",
            "basic/authorization/index/token-every-request",
        ),
    ),
    pytest.param(
        (f"{TOKENS}/client-signed-in-not-in-query",),
        marks=pytest.mark.requirement("basic/authorization/index/token-not-in-query"),
    ),
    pytest.param(
        (f"{INDEX}/token-handling/client-own-tokens",),
        marks=pytest.mark.requirement("basic/authorization/index/no-foreign-tokens"),
    ),
    pytest.param(
        (f"{REFRESH}/client-confidential",),
        marks=pytest.mark.requirement("basic/authorization/index/refresh-confidential"),
    ),
    pytest.param(
        (f"{REFRESH}/client-grant-type",),
        marks=pytest.mark.requirement("basic/authorization/index/refresh-grant-type"),
    ),
    pytest.param(
        (f"{REFRESH}/client-none-assumed",),
        marks=pytest.mark.requirement("basic/authorization/index/refresh-not-assumed"),
    ),
    pytest.param(
        (f"{SECURITY}/communication-security/client-redirect-uri",),
        marks=pytest.mark.requirement("basic/authorization/security-considerations/redirect-https"),
    ),
    pytest.param(
        (f"{CODE}/client-pkce",),
        marks=pytest.mark.requirement("basic/authorization/security-considerations/pkce"),
    ),
    pytest.param(
        (f"{CODE}/client-s256", f"{CODE}/client-no-plain"),
        marks=pytest.mark.requirement("basic/authorization/security-considerations/pkce-s256"),
    ),
    pytest.param(
        (f"{CODE}/client-pkce-absent",),
        marks=pytest.mark.requirement(
            "basic/authorization/security-considerations/pkce-verified",
            "basic/authorization/security-considerations/pkce-oauth-absent",
        ),
    ),
    pytest.param(
        (f"{CODE}/client-pkce-absent-openid",),
        marks=pytest.mark.requirement(
            "basic/authorization/security-considerations/pkce-oidc-absent"
        ),
    ),
    pytest.param(
        (f"{REDIRECTION}/client-registered-redirect",),
        marks=pytest.mark.requirement(
            "basic/authorization/security-considerations/redirects-registered"
        ),
    ),
    pytest.param(
        (
            f"{REDIRECTION}/client-state",
            f"{REDIRECTION}/client-wrong-state",
            f"{REDIRECTION}/client-missing-state",
        ),
        marks=pytest.mark.requirement("basic/authorization/security-considerations/state"),
    ),
]
"""The cases that hold rules, each case in the newest revision of the rule that has it."""


@pytest.fixture(scope="module")
def warm() -> Iterator[Sequence[str]]:
    """Our client, but for its start."""
    with warm_program(CLIENT) as words:
        yield words


def test_the_cases_are_as_strong_as_their_rules_and_are_there_in_their_revisions() -> None:
    rows = {each.id: each for each in REQUIREMENTS}
    proofs = [(each.values[0], mark) for each in PROVEN for mark in each.marks]
    assert len(proofs) == len(PROVEN)
    for ids, mark in proofs:
        assert isinstance(ids, tuple)
        assert isinstance(mark, pytest.MarkDecorator)
        cases = [CASES[id] for id in ids]
        for name in mark.args:
            row = rows[name]
            assert {str(case.strength) for case in cases} == {row.strength.value}, name
            for revision in (row.revisions.first, row.revisions.last):
                assert any(case.holds_in(revision) for case in cases), (name, revision.name)


@pytest.mark.anyio
@pytest.mark.long
@pytest.mark.parametrize("ids", PROVEN, ids=lambda ids: ids[0].removeprefix(f"{PAGE}/"))
async def test_our_client_keeps_the_rule(ids: tuple[str, ...], warm: Sequence[str]) -> None:
    for id in ids:
        case = CASES[id]
        result = await play_client(
            case, warm, Binding.HTTP, case.revisions.last, timing=TIMING, limit=600.0
        )
        assert (result.verdict, result.detail) == (Verdict.PASSED, "")
