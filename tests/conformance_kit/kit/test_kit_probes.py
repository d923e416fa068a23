"""What cases use to tell refusals, silence and answers apart, against our core and broken ones."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest

from conformance.mutants.fault import Fault, Value
from conformance.mutants.faults import asks, code, declines, dies_of, ignores, instead, misread
from conformance.mutants.faulty_wire import FaultyStage
from mcpcore.spec.revisions import BY_NAME, REVISIONS, Revision
from mcpcore_conformance.kit.account import Unasked
from mcpcore_conformance.kit.discover import discover
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.log import Log
from mcpcore_conformance.kit.messages import PARSE_ERROR, error, notification, request, result
from mcpcore_conformance.kit.probes import (
    answers,
    check_code,
    fence,
    headers_as_for,
    outcome,
    plain_request,
    rejected,
    unanswered,
)
from mcpcore_conformance.kit.talk import ServerTalk, Timing
from mcpcore_conformance.kit.verdicts import Broken
from mcpcore_conformance.kit.wire import Stage
from mcpcore_conformance.subjects.core import CoreStage, at_once

LEGACY, MODERN = BY_NAME["2025-11-25"], BY_NAME["2026-07-28"]
BOTH = pytest.mark.parametrize("revision", [LEGACY, MODERN])
NO_JSON = b'{"jsonrpc"'
CANCELLED = notification("notifications/cancelled", {"requestId": "kit"})


async def _open(revision: Revision, fault: Callable[[], Fault] | None) -> Link:
    core = CoreStage()
    stage: Stage = core if fault is None else FaultyStage(core, fault)
    features = await discover(core, revision, Timing())
    log = Log(stage.now)
    talk = ServerTalk(stage, revision, features, log=log, timing=Timing(), seed=0)
    return await talk.open()


def opened(revision: Revision, fault: Callable[[], Fault] | None = None) -> Link:
    return at_once(_open(revision, fault))


def no_json(value: object) -> bool:
    return value is None


@BOTH
def test_an_error_is_what_comes_of_it(revision: Revision) -> None:
    link = opened(revision)
    reply = at_once(rejected(link, NO_JSON, "half of a message"))
    assert reply.error["code"] == PARSE_ERROR
    assert link.clean


def test_a_retry_says_nothing_of_a_round_before_the_last() -> None:
    link = opened(MODERN)
    asking = {"inputRequests": {"roots": {"method": "roots/list"}}}
    second = link.again({"name": "tour"}, {**asking, "requestState": "of the first"})
    assert second["requestState"] == "of the first"
    third = link.again(second, asking)
    assert third.keys() == {"name", "inputResponses"}
    with pytest.raises(Broken, match="inputRequests has to be a map"):
        link.again(third, {"inputRequests": ["roots/list"]})


class _CountsToo(Fault):
    """Asks with the id of a ping; behind the answer the ping is answered, in vain or once more."""

    first: Sequence[Value]
    then: Value

    def message(self, value: Value) -> Iterable[Value | bytes]:
        if self.method_of(value) != "ping":
            return (value,)
        head = {"jsonrpc": "2.0", "id": value["id"]}
        return (*({**head, **each} for each in self.first), request(value["id"], "roots/list"))

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if "roots" not in value.get("result", {}):
            return payload
        self.answer({"jsonrpc": "2.0", "id": value["id"], **self.then})
        return None


def test_an_answer_of_the_kit_is_no_request_of_its_own() -> None:
    link = opened(LEGACY, lambda: _CountsToo([{"result": {}}], then={"result": {}}))
    assert at_once(link.request("ping")).result == {}
    at_once(link.until(lambda: None, 0.1))
    assert [each.method for each in link.asked] == ["roots/list"]
    assert Unasked.TWICE in link.account.found
    assert answers(link) == [], "the second answer is none of what is waited for"


def test_what_an_answer_has_the_id_of_is_still_what_was_asked() -> None:
    link = opened(LEGACY, lambda: _CountsToo([], then={"result": {}, "error": {}}))
    with pytest.raises(Broken) as caught:
        at_once(link.request("ping"))
    assert caught.value.flaw == "ping"


@BOTH
def test_silence_is_what_comes_of_it(revision: Revision) -> None:
    link = opened(revision, ignores(no_json))
    reply = at_once(rejected(link, NO_JSON, "half of a message", owed=False))
    assert reply.silent
    assert link.talk.stage.now() < 1, "the fence was not used, but the patience with a request"
    assert not link.clean, "an error may still come, and is none of another case"


@BOTH
def test_for_an_error_that_is_owed_is_waited_once(revision: Revision) -> None:
    link = opened(revision, ignores(no_json))
    for waited in (5, 0):
        before = link.talk.stage.now()
        assert at_once(rejected(link, NO_JSON, "half of a message")).silent
        assert waited <= link.talk.stage.now() - before < waited + 1


def test_a_result_is_no_refusal() -> None:
    link = opened(LEGACY, instead(no_json, lambda _value: result("made up", {})))
    with pytest.raises(Broken, match="half of a message was answered, with the id 'made up'"):
        at_once(rejected(link, NO_JSON, "half of a message"))


def test_a_result_for_what_can_be_read_in_it_is_no_refusal() -> None:
    link = opened(LEGACY, instead(no_json, lambda _value: result(17, {})))
    with pytest.raises(Broken, match="half of a message was carried out"):
        at_once(rejected(link, NO_JSON, "half of a message", id=17))


def test_an_error_with_an_invented_id_is_a_refusal() -> None:
    link = opened(LEGACY, instead(no_json, lambda _value: error("made up", PARSE_ERROR, "no")))
    reply = at_once(rejected(link, NO_JSON, "half of a message"))
    assert reply.message is not None
    assert reply.message.id == "made up"
    assert answers(link) == []


def test_the_end_of_the_connection_is_no_refusal() -> None:
    link = opened(LEGACY, dies_of(lambda value, _payload: value is None))
    with pytest.raises(Broken, match="half of a message ended the connection"):
        at_once(rejected(link, NO_JSON, "half of a message"))


def test_a_server_that_stops_answering_is_found_out() -> None:
    link = opened(LEGACY, ignores(asks("ping")))
    with pytest.raises(Broken, match="the server does not answer any more"):
        at_once(rejected(link, NO_JSON, "half of a message"))


def test_an_answer_is_waited_for_however_late_the_fence() -> None:
    link = opened(LEGACY)

    async def both() -> None:
        sent = await link.send("tools/list")
        reply = await outcome(link, sent)
        assert "tools" in reply.result
        await fence(link)

    at_once(both())
    assert link.clean


def test_an_error_without_an_id_is_not_the_answer_to_the_fence() -> None:
    link = opened(LEGACY, instead(asks("kit"), lambda _value: error(None, -32600, "no")))

    async def say() -> None:
        await link.say(notification("kit"))
        await fence(link)

    at_once(say())
    assert [each.id for each in answers(link)] == [None]


@BOTH
def test_a_notification_is_not_answered(revision: Revision) -> None:
    link = opened(revision)
    assert at_once(unanswered(link, {"a cancellation": CANCELLED})) == {}
    assert link.clean


def test_an_answered_notification_is_found_out() -> None:
    link = opened(MODERN, declines(asks("notifications/cancelled")))
    with pytest.raises(Broken, match=r"an answer came, .*declined.*, to a cancellation"):
        at_once(unanswered(link, {"a cancellation": CANCELLED}))


def test_one_of_several_notifications_that_are_answered_is_found_out() -> None:
    link = opened(MODERN, declines(asks("kit")))
    said = {"a cancellation": CANCELLED, "another": notification("kit")}
    with pytest.raises(Broken, match="to one of these: a cancellation, another"):
        at_once(unanswered(link, said))


def test_errors_without_an_id_may_be_let_through() -> None:
    link = opened(MODERN, declines(asks("kit")))
    assert at_once(unanswered(link, {"it": notification("kit")}, errors=True)) == {}
    assert answers(link) == []


def test_a_notification_that_ends_the_connection_is_found_out() -> None:
    link = opened(MODERN, dies_of(lambda value, _payload: asks("kit")(value)))
    with pytest.raises(Broken, match="it ended the connection"):
        at_once(unanswered(link, {"it": notification("kit")}))


def test_codes_are_compared() -> None:
    link = opened(MODERN, code(PARSE_ERROR, -32000))
    reply = at_once(rejected(link, NO_JSON, "it"))
    check_code(reply, "it", [-32000, 5])
    with pytest.raises(Broken, match=r"it got the error -32000 \('.*'\), not -32700 or -32600"):
        check_code(reply, "it", [-32700, -32600])


def test_silence_has_no_code() -> None:
    link = opened(MODERN, ignores(no_json))
    reply = at_once(rejected(link, NO_JSON, "it"))
    with pytest.raises(Broken, match="it got no answer, not the error -32700"):
        check_code(reply, "it", [PARSE_ERROR])


def test_what_is_misread_reaches_the_server_otherwise() -> None:
    fault = misread(lambda value, payload: payload if value else b'{"jsonrpc":"2.0","method":"x"}')
    link = opened(MODERN, fault)
    assert at_once(rejected(link, NO_JSON, "it")).silent


def test_what_goes_with_a_request() -> None:
    methods = {revision.name: plain_request(opened(revision)) for revision in REVISIONS}
    assert methods.pop("2026-07-28") == "server/discover"
    assert set(methods.values()) == {"ping"}
    assert headers_as_for(opened(MODERN), "tools/list") == {"mcp-method": "tools/list"}
    assert headers_as_for(opened(LEGACY), "tools/list") is None
    link = opened(MODERN)
    message = request(1, "server/discover", link.params())
    assert at_once(_plain(link, message))


async def _plain(link: Link, message: dict[str, object]) -> bool:
    reply = await link.reply(await link.say(message))
    return "supportedVersions" in reply.result
