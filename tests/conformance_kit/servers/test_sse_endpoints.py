"""HTTP+SSE: a message for a session that never was, wherever in the endpoint the session stands."""

import re
from collections.abc import Callable, Iterable

import pytest

from conformance.mutants.fault import Asked, Fault
from mcpcore_conformance.kit.heard import Event, Heard
from mcpcore_conformance.kit.model import Binding, Verdict
from tests.conformance_kit.runs import cases_of, faulty, ran

FIRST = "2024-11-05"
CASE = "basic/transports/http-with-sse/unknown-session"

FORMS = (
    # how an endpoint is written, and read: at constants the server does not look
    ("/in?session={}", r"/in\?session=([^/&?]*)"),
    ("/in?session={}&v=1", r"/in\?session=([^/&?]*)&v=[^/&?]*"),
    ("/in?v=1&session={}&lang=en-GB", r"/in\?v=[^/&?]*&session=([^/&?]*)&lang=[^/&?]*"),
    ("/in/{}", r"/in/([^/&?]*)"),
    ("/in/{}/post?v=1", r"/in/([^/&?]*)/post\?v=[^/&?]*"),
)


def dressed(form: str, pattern: str, *, careless: bool) -> Callable[[], Fault]:
    """A server whose endpoints have this form; a careless one takes every session."""

    class Dressed(Fault):
        real = session = ""

        def heard(self, heard: Heard) -> Iterable[Heard]:
            if isinstance(heard, Event) and heard.name == "endpoint":
                self.real = heard.data.decode()
                self.session = self.real.rpartition("=")[2]
                heard.data = form.format(self.session).encode()
            return (heard,)

        def fetching(self, asked: Asked) -> Asked | None:
            if asked.target is None:
                return asked
            found = re.fullmatch(pattern, asked.target)
            if found is not None and found[1] == self.session:
                asked.target = self.real
                return asked
            self.answer_http(202 if found is not None and careless else 404, None)
            return None

    return Dressed


@pytest.mark.share(5)
@pytest.mark.parametrize("careless", [False, True])
@pytest.mark.parametrize(("form", "pattern"), FORMS)
def test_what_carries_the_session_is_altered_and_nothing_else_counts(
    form: str, pattern: str, careless: bool
) -> None:
    fault = dressed(form, pattern, careless=careless)
    run = ran(faulty(Binding.SSE, fault), cases_of(CASE), FIRST)
    (found,) = (each for each in run.results if each.case.id == CASE)
    assert found.verdict is (Verdict.WEAK if careless else Verdict.PASSED), found.detail
