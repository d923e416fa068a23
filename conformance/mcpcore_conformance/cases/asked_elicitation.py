"""Cases of the page client/elicitation, as a server has to follow it."""

from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

from mcpcore_conformance.kit.answering import Answering
from mcpcore_conformance.kit.asking import Asked, ask_about, call, failed, needs_input
from mcpcore_conformance.kit.features import sample_form
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.lists import open_stream
from mcpcore_conformance.kit.messages import Message
from mcpcore_conformance.kit.model import (
    LEGACY_SINCE_2025_06_18,
    ONLY_2025_06_18,
    ONLY_2025_11_25,
    SINCE_2025_06_18,
    SINCE_2025_11_25,
    Page,
)
from mcpcore_conformance.kit.shapes import params_problem
from mcpcore_conformance.kit.shown import Asker
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.trying import asker, askers, questioned, when_declined
from mcpcore_conformance.kit.usable import members, texts
from mcpcore_conformance.kit.verdicts import check, need

page = Page("client/elicitation")

METHOD = "elicitation/create"
FORM = "test_elicitation"
DEFAULTS = "test_elicitation_sep1034_defaults"
ENUMS = "test_elicitation_sep1330_enums"
URL = "test_elicitation_url"
ASKED, VISITED = ("found:elicitation",), ("found:url",)
case = page.server(SINCE_2025_06_18, needs=ASKED)
requested_schema = case.at("requested-schema")
error_handling = case.at("error-handling")
URL_REQUIRED = -32042
BOTH: dict[str, Any] = {"elicitation": {"form": {}, "url": {}}}
DEFAULT: dict[str, Any] = {"elicitation": {}}
"""Declares forms only."""

Answer = Callable[[Message], dict[str, Any]]


async def asked(
    talk: ServerTalk,
    tool: str = FORM,
    capabilities: dict[str, Any] | None = None,
    answer: Answer | None = None,
) -> tuple[Link, Asked]:
    """Have the user asked, by a tool of the fixture or what was found.

    ``answer`` is a good one by default.
    """
    which = await asker(talk, "url" if tool == URL else "elicitation", tool)
    return await asked_by(talk, which, capabilities, answer)


async def asked_by(
    talk: ServerTalk,
    which: Asker,
    capabilities: dict[str, Any] | None = None,
    answer: Answer | None = None,
) -> tuple[Link, Asked]:
    """Have the user asked by a request."""
    by: dict[str, Any] = {} if answer is None else {METHOD: answer}
    declared = DEFAULT if capabilities is None else capabilities
    return await questioned(talk, which, METHOD, declared, Answering(by=by))


async def forms(
    talk: ServerTalk, *tools: str, due: bool = True
) -> list[tuple[Asker, list[Message]]]:
    """The forms that are asked: by all of these tools of the fixture, or by what was found.

    ``due``: tools of the fixture have to ask; without that they may do without a form that the
    revision cannot have.
    """
    there = [each for each in tools if each in talk.features.tools]
    found: list[Asker] = []
    for name in there:
        found += await askers(talk, "elicitation", name)
    if not there:
        found = await askers(talk, "elicitation")
    made: list[tuple[Asker, list[Message]]] = []
    for each in found:
        _, came = await asked_by(talk, each)
        asked = [came.one(METHOD)] if each.known and due else came.of(METHOD)
        made.append((each, [one for one in asked if one.params.get("mode") != "url"]))
    return made


def fixed(answer: dict[str, Any]) -> Answer:
    """The same answer to everything."""
    return lambda _: answer


def check_shape(talk: ServerTalk, message: Message) -> None:
    """The params have the shape of the revision."""
    problem = params_problem(METHOD, message.params, talk.revision)
    check(not problem, f"the params of {METHOD}: {problem}")


def fields(message: Message) -> dict[str, Any]:
    """The fields of a form."""
    schema = message.params.get("requestedSchema")
    found = schema.get("properties") if isinstance(schema, dict) else None
    check(isinstance(found, dict), f"requestedSchema is {schema!r:.80}")
    return dict(found or {})


@case.must(
    "form-mode-elicitation-requests",
    "A message, a flat schema of primitive fields, and the mode form or none.",
)
async def shape(talk: ServerTalk) -> None:
    """A form has the shape of its revision."""
    for _, found in await forms(talk, FORM):
        for each in found:
            check_shape(talk, each)


@case.must("elicitation-requests", "A text that says why the user is asked.")
async def message(talk: ServerTalk) -> None:
    """Every elicitation says to the user what it is about."""
    _, found = await asked(talk)
    text = found.one(METHOD).params.get("message")
    check(isinstance(text, str) and text, f"the message is {text!r}")


@requested_schema.must("Forms of flat fields of the kinds that the revision has, or no form.")
async def primitive_fields(talk: ServerTalk) -> None:
    """The fields of every form are of the kinds that the revision has."""
    for tool, found in await forms(talk, DEFAULTS, ENUMS, FORM, due=False):
        for each in found:
            if tool.known:
                check_shape(talk, each)
            kinds = {str(rules.get("type")) for rules in fields(each).values()}
            check("object" not in kinds, f"{tool} asks for an object within a form")


@requested_schema.should(
    "No choices with titles, no multiple choices and no defaults of later revisions.",
    ONLY_2025_06_18,
)
async def new_kinds(talk: ServerTalk) -> None:
    """A form has nothing that came with a later revision."""
    for _, found in await forms(talk, DEFAULTS, ENUMS, due=False):
        for each in found:
            for name, rules in fields(each).items():
                new = sorted({"oneOf", "anyOf", "items"} & set(rules))
                if rules.get("type") != "boolean":
                    new += ["default"] if "default" in rules else []
                check(not new, f"the field {name} has {', '.join(new)}")


@requested_schema.should(
    "A default of the field's type in every field that has one.", SINCE_2025_11_25
)
async def defaults(talk: ServerTalk) -> None:
    """Defaults are of the type of their fields."""
    known: dict[str, Any] = {"string": str, "integer": int, "number": (int, float), "boolean": bool}
    seen = 0
    found = await forms(talk, DEFAULTS)
    rows = [each for _, asked in found for form in asked for each in fields(form).items()]
    for name, rules in rows:
        if "default" not in rules:
            continue
        seen += 1
        value, kind = rules["default"], str(rules.get("type"))
        right = isinstance(value, known.get(kind, list))
        right = right and (kind == "boolean") == isinstance(value, bool)
        check(right, f"the default of {name}, a {kind}, is {value!r}")
        check(value in rules.get("enum", [value]), f"the default of {name} is no choice: {value!r}")
    if not seen and not found[0][0].known:
        talk.skip("no tool asks for anything that has a default")
    check(seen, "no field has a default")


@requested_schema.should(
    "enum, oneOf with titles, and arrays of either, each as the page has it.", SINCE_2025_11_25
)
async def choices(talk: ServerTalk) -> None:
    """Choices come in each of the forms that the page has."""
    chosen = 0
    for tool, found in await forms(talk, ENUMS):
        for form in found:
            if tool.known:
                check_shape(talk, form)
            rows = [each for each in fields(form).values() if tool.known or is_choice(each)]
            chosen += len(rows)
            for rules in rows:
                check_choice(rules)
    need(chosen, "no tool asks for a choice")


def is_choice(rules: dict[str, Any]) -> bool:
    """Whether a field is one of choices."""
    return bool({"enum", "oneOf", "items"} & set(rules))


def check_choice(rules: dict[str, Any]) -> None:
    """Check that the choices of a field are given in one form."""
    items = rules.get("items", {})
    titled = "oneOf" in rules or "anyOf" in items
    plain = "enum" in rules or "enum" in items
    check(titled != plain, f"a choice has both forms, or none: {rules}")
    names = rules.get("enumNames")
    check(names is None or len(names) == len(rules.get("enum", [])), "names and choices differ")


@case.must("capabilities", "No request, and an error or a result that says so.")
async def declared_only(talk: ServerTalk) -> None:
    """A client that has not declared elicitation is not asked for it."""
    link, found = await asked(talk, capabilities={})
    check(not found.of(METHOD), f"{METHOD} is asked of a client that has not declared it")
    check(found.reply.message is not None, f"the call got {found.reply}")
    await link.alive()


@case.must("capabilities", "No form for a client that takes URLs only.", SINCE_2025_11_25)
async def no_forms(talk: ServerTalk) -> None:
    """A client that has not declared forms gets none."""
    _, found = await asked(talk, capabilities={"elicitation": {"url": {}}})
    strange = [each for each in found.of(METHOD) if each.params.get("mode") != "url"]
    check(not strange, "a form is asked of a client that takes URLs only")


@case.must(
    "capabilities",
    "No URL for a client that takes forms only; an empty capability means that.",
    SINCE_2025_11_25,
    needs=VISITED,
)
async def no_urls(talk: ServerTalk) -> None:
    """A client that has not declared URL mode gets no URL."""
    only_forms: tuple[dict[str, Any], ...] = (DEFAULT, {"elicitation": {"form": {}}})
    for declared in only_forms:
        _, found = await asked(talk, URL, declared)
        urls = [each for each in found.of(METHOD) if each.params.get("mode") == "url"]
        check(not urls, f"a URL is given to a client that declares {declared}")
        data = found.reply.message.value if found.reply.message is not None else {}
        code = data.get("error", {}).get("code")
        check(code != URL_REQUIRED, f"a URL is required of a client that declares {declared}")


@case.should("capabilities", "A form: an empty capability declares forms.", SINCE_2025_11_25)
async def empty_is_form(talk: ServerTalk) -> None:
    """An empty capability counts as one of forms."""
    _, found = await asked(talk, capabilities=DEFAULT)
    check(found.of(METHOD), f"a client that declares an empty capability got {found.reply}")


async def _refused(talk: ServerTalk, action: str) -> None:
    link, found = await asked(talk, answer=fixed({"action": action}))
    found.one(METHOD)
    check(found.reply.message is not None, f"after {action} the call got {found.reply}")
    await link.alive()


@error_handling.must("An end of the call, and a server that goes on.")
async def decline(talk: ServerTalk) -> None:
    """A user who declines ends the call, or is asked for something else."""
    await _refused(talk, "decline")


@error_handling.must("An end of the call, and a server that goes on.")
async def cancel(talk: ServerTalk) -> None:
    """A user who dismisses the form ends the call, or is asked again."""
    await _refused(talk, "cancel")


@error_handling.must("An end of the call, and a server that goes on.", LEGACY_SINCE_2025_06_18)
async def client_error(talk: ServerTalk) -> None:
    """A client that fails to ask its user ends the call and nothing else."""
    error = {"code": -32603, "message": "no user is there"}
    link, found = await asked(talk, answer=fixed({"error": error}))
    found.one(METHOD)
    check(found.reply.message is not None, f"after the client's error the call got {found.reply}")
    await link.alive()


async def _wrong(talk: ServerTalk, which: Asker, answers: Iterable[Answer]) -> None:
    refusal = None if which.known else await when_declined(talk, which, DEFAULT)
    for answer in answers:
        link, found = await asked_by(talk, which, answer=answer)
        given = answer(found.one(METHOD))
        check(found.reply.message is not None, f"after the answer {given}: {found.reply}")
        taken = not failed(found.reply) and not needs_input(found.reply)
        if taken and refusal is not None and found.reply.result.get("content") == refusal:
            taken = False  # to take it for no answer is not to take it for a good one
        check(not taken, f"the answer {given} was taken")
        await link.alive()


@case.should(
    "response-actions",
    "An error, a result with isError, the question again, or what comes of a refusal.",
)
async def unknown_action(talk: ServerTalk) -> None:
    """An answer without one of the three actions is not used."""
    which = await asker(talk, "elicitation", FORM)
    answers = (fixed({}), fixed({"action": "perhaps"}), fixed({"action": 1}))
    await _wrong(talk, which, answers)


@case.should("form-mode-security", "An error, a result with isError, or the question again.")
async def server_validates(talk: ServerTalk) -> None:
    """What the user fills in is checked against the form."""
    which = await asker(talk, "elicitation", FORM)

    def without_one(request: Message) -> dict[str, Any]:
        schema = members(request.params.get("requestedSchema"))
        missing = texts(schema.get("required"))[:1]
        filled = {name: each for name, each in sample_form(schema).items() if name not in missing}
        return {"action": "accept", "content": filled}

    def of_other_type(request: Message) -> dict[str, Any]:
        # 17 is no text, and a text is nothing else
        kinds = {name: rules.get("type") for name, rules in fields(request).items()}
        filled = {name: 17 if kind == "string" else "kit" for name, kind in kinds.items()}
        return {"action": "accept", "content": filled}

    answers: list[Answer] = [fixed({"action": "accept", "content": {}}), without_one]
    if not which.known:
        asked_for = [members(each.get("params")) for each in which.questions]
        schemas = [members(each.get("requestedSchema")) for each in asked_for]
        # a form of which nothing is required may come back empty
        if not all(texts(schema.get("required")) for schema in schemas if schema):
            answers = []
    await _wrong(talk, which, [*answers, of_other_type])


# Users who visit URLs

case = page.server(SINCE_2025_11_25, needs=VISITED)

COMPLETE = "notifications/elicitation/complete"
REQUIRED = "test_url_elicitation_required"


@case.must(
    "url-mode-elicitation-requests/shape",
    "mode url, a message, a URL, and in 2025-11-25 an elicitationId.",
)
async def url_shape(talk: ServerTalk) -> None:
    """A URL is given in the shape of its revision."""
    link, found = await asked(talk, URL, BOTH)
    link.inbox.clear()
    request = found.one(METHOD)
    check(request.params.get("mode") == "url", f"the mode is {request.params.get('mode')!r}")
    check_shape(talk, request)


@case.must("url-mode-elicitation-requests/valid-url", "An absolute URL with a host.")
async def url_valid(talk: ServerTalk) -> None:
    """The URL is a valid one."""
    link, found = await asked(talk, URL, BOTH)
    link.inbox.clear()
    url = str(found.one(METHOD).params.get("url"))
    parts = urlsplit(url)
    check(parts.scheme and parts.netloc and " " not in url, f"the URL is {url[:80]!r}")


@case.should("safe-url-handling/https", "https, except for this machine.")
async def url_https(talk: ServerTalk) -> None:
    """URLs use HTTPS, except while something is developed."""
    link, found = await asked(talk, URL, BOTH)
    link.inbox.clear()
    parts = urlsplit(str(found.one(METHOD).params.get("url")))
    local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    check(parts.scheme == "https" or local, f"the URL has the scheme {parts.scheme!r}")


async def _completed(talk: ServerTalk) -> tuple[Link, Message, Message | None]:
    """A URL that was accepted: the client, the request and the word of its completion."""
    which = await asker(talk, "url", URL)
    link = await talk.connect(capabilities={**which.besides(METHOD), **BOTH}, answering=Answering())
    await link.initialize()
    await open_stream(link)
    found = await ask_about(link, which.method, which.params)
    found.requests = [each for each in found.requests if each.params.get("mode") == "url"]
    return link, found.one(METHOD), await link.wait_for(COMPLETE, 4 * talk.timing.quiet)


@case.must(
    "completion-notifications-for-url-mode-elicitation/id",
    "The elicitationId of the request.",
    ONLY_2025_11_25,
)
async def complete_id(talk: ServerTalk) -> None:
    """The word that a visit has ended names the elicitation."""
    link, request, complete = await _completed(talk)
    if complete is None:
        talk.skip("the server does not say when a visit has ended")
    problem = params_problem(COMPLETE, complete.params, talk.revision)
    check(not problem, f"the params of {COMPLETE}: {problem}")
    found, wanted = complete.params["elicitationId"], request.params.get("elicitationId")
    # the server may have asked for other visits meanwhile, of its own accord
    asked = [each.params.get("elicitationId") for each in link.asked]
    check(found in asked, f"{found!r} is complete, {wanted!r} was asked for")


@case.must(
    "completion-notifications-for-url-mode-elicitation/to-the-initiator",
    "Nothing for a client that was not asked.",
    ONLY_2025_11_25,
)
async def complete_to_initiator(talk: ServerTalk) -> None:
    """The word that a visit has ended goes to the client that was asked, and to no other."""
    other = await talk.open(capabilities=BOTH, answering=Answering())
    await open_stream(other)
    _, _, complete = await _completed(talk)
    if complete is None:
        talk.skip("the server does not say when a visit has ended")
    await other.quiet()
    asked = [each.params.get("elicitationId") for each in other.asked]
    strange = [
        each
        for each in other.inbox
        if each.method == COMPLETE and each.params.get("elicitationId") not in asked
    ]
    check(not strange, "another client was told of the end of a visit")


@case.must(
    "url-elicitation-required-error/list",
    "The error -32042 with elicitations in URL mode, each with an elicitationId.",
    ONLY_2025_11_25,
    needs=(f"tool:{REQUIRED}",),
)
async def required_list(talk: ServerTalk) -> None:
    """The error that demands a visit lists elicitations: shown by a tool known to demand one."""
    link = await talk.open(capabilities=BOTH, answering=Answering())
    error = (await call(link, talk.tool(REQUIRED), {})).failed_with(URL_REQUIRED)
    data = error.get("data")
    found = data.get("elicitations") if isinstance(data, dict) else None
    check(isinstance(found, list) and found, f"data of the error is {data!r:.80}")
    for each in found or []:
        check(isinstance(each, dict), f"an elicitation is {each!r:.80}")
        check(each.get("mode") == "url", f"an elicitation has the mode {each.get('mode')!r}")
        problem = params_problem(METHOD, each, talk.revision)
        check(not problem, f"an elicitation of the error: {problem}")
