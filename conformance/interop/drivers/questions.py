"""What a server asks of its client while a call runs: the user, the model, the roots."""

import anyio

from conformance.interop.drivers.caller import PERSON, ROOTS, UNWILLING, Caller, Refused, expect

URL_ELICITATION_REQUIRED = -32042
MISSING_CAPABILITY = -32021
ASK = {"message": "Who are you?"}
URL = "https://example.com/"
COMPLETE = "notifications/elicitation/complete"


async def elicitation_accept(caller: Caller) -> None:
    """The user fills in the form."""
    asked = len(caller.answers.asked)
    text = await caller.say("test_elicitation", ASK)
    expect(PERSON["username"] in text and "accept" in text, text)
    (_, params), *more = caller.answers.asked[asked:]
    expect(params["message"] == ASK["message"] and not more, params)


async def elicitation_decline(caller: Caller) -> None:
    """The user declines."""
    await _refuse(caller, "decline")


async def elicitation_cancel(caller: Caller) -> None:
    """The user closes the form."""
    await _refuse(caller, "cancel")


async def _refuse(caller: Caller, action: str) -> None:
    caller.answers.action = action
    try:
        text = await caller.say("test_elicitation", ASK)
    finally:
        caller.answers.action = "accept"
    expect(action in text and PERSON["username"] not in text, text)


async def elicitation_fields(caller: Caller) -> None:
    """Forms with fields of every primitive type, defaults and every kind of choice."""
    text = await caller.say("test_elicitation_sep1034_defaults")
    expect("accept" in text and "95.5" in text and "active" in text, text)
    text = await caller.say("test_elicitation_sep1330_enums")
    expect("accept" in text and "option1" in text and "value1" in text, text)


async def elicitation_url(caller: Caller) -> None:
    """The user is sent to a page, or does not want to go there."""
    asked = len(caller.answers.asked)
    text = await caller.say("test_elicitation_url")
    expect("accept" in text, text)
    (_, params) = caller.answers.asked[asked]
    expect(params["mode"] == "url" and params["url"].startswith(URL), params)
    caller.answers.action = "decline"
    try:
        text = await caller.say("test_elicitation_url")
    finally:
        caller.answers.action = "accept"
    expect("decline" in text, text)


async def visit_told(caller: Caller) -> None:
    """The end of the visit to a page is told."""
    mark, asked = caller.news.mark, len(caller.answers.asked)
    await caller.say("test_elicitation_url")
    (_, params) = caller.answers.asked[asked]
    (told,) = await caller.news.wait(mark, COMPLETE)
    expect(told["elicitationId"] == params["elicitationId"], told)


async def url_required(caller: Caller) -> None:
    """A call is refused until the user has been somewhere; then it is made again.

    A client may do all of that by itself.
    """
    mark, asked, tool = caller.news.mark, len(caller.answers.asked), "test_url_elicitation_required"
    refusal: Refused | None = None

    async def finish() -> None:
        await caller.answers.reach(asked + 1)
        await caller.say("test_finish_visit")

    async with anyio.create_task_group() as group:
        group.start_soon(finish)
        try:
            text = await caller.say(tool)
        except Refused as refused:
            refusal = refused
        group.cancel_scope.cancel()
    if refusal is not None:
        expect(refusal.code == URL_ELICITATION_REQUIRED, refusal)
        (wanted,) = refusal.data["elicitations"]
        expect(wanted["mode"] == "url" and wanted["url"].startswith(URL), wanted)
        await caller.say("test_finish_visit")
        (told,) = await caller.news.wait(mark, COMPLETE)
        expect(told["elicitationId"] == wanted["elicitationId"], told)
        text = await caller.say(tool)
    expect(text == "signed in", text)


async def several_questions(caller: Caller) -> None:
    """One question after the other in one call; in the modern era in rounds of their own."""
    asked = len(caller.answers.asked)
    text = await caller.say("test_input_required_result_multi_round")
    expect(text == "step 1: accept, step 2: accept", text)
    expect(len(caller.answers.asked) == asked + 2, caller.answers.asked[asked:])


async def sampling(caller: Caller) -> None:
    """The model is asked."""
    asked = len(caller.answers.asked)
    text = await caller.say("test_sampling", {"prompt": "Two and two?"})
    expect("four" in text, text)
    (_, params) = caller.answers.asked[asked]
    content = params["messages"][0]["content"]
    block = content[0] if isinstance(content, list) else content
    expect(block["text"] == "Two and two?" and params["maxTokens"] == 100, params)


async def sampling_refused(caller: Caller) -> None:
    """The user does not let the model be asked; the call fails, and nothing else does."""
    caller.answers.unwilling = True
    try:
        result = await caller.call("test_sampling", {"prompt": "Two and two?"})
    except Refused as refused:
        expect(refused.code == UNWILLING or not caller.modern, refused)
    else:
        expect(result.get("isError") is True, result)
    finally:
        caller.answers.unwilling = False
    await sampling(caller)


async def sampling_with_tools(caller: Caller) -> None:
    """The model is given tools, and uses one."""
    asked = len(caller.answers.asked)
    text = await caller.say("test_sampling_with_tools")
    expect(text == "the model uses add with a=2 b=2", text)
    (_, params) = caller.answers.asked[asked]
    (tool,) = params["tools"]
    expect(tool["name"] == "add" and tool["inputSchema"]["properties"], tool)
    expect(params["toolChoice"] == {"mode": "required"}, params)


async def roots(caller: Caller) -> None:
    """The roots are asked for."""
    text = await caller.say("test_list_roots")
    expect(all(uri in text for uri in ROOTS), text)


async def roots_changed(caller: Caller) -> None:
    """The roots change, and the server gets the new ones."""
    caller.answers.roots = ("file:///interop/new",)
    try:
        await caller.roots_changed()
        text = await caller.say("test_list_roots")
    finally:
        caller.answers.roots = ROOTS
    await caller.roots_changed()
    expect(text == "file:///interop/new", text)


async def missing_capability(caller: Caller) -> None:
    """A client without a model is not asked: a failed call, or an error where the era has one."""
    async with caller.bare() as other:
        try:
            result = await other.call("test_sampling", {"prompt": "Two and two?"})
        except Refused as refused:
            if caller.modern:
                expect(refused.code == MISSING_CAPABILITY, refused)
                expect("sampling" in refused.data["requiredCapabilities"], refused.data)
        else:
            expect(result.get("isError") is True and not caller.modern, result)
        expect(not other.answers.asked, other.answers.asked)
        text = await other.say("test_simple_text")
        expect("simple text" in text, text)
