"""Cases of the page client/elicitation, as a server has to follow it."""

from collections.abc import Callable
from typing import Any

from conformance.kit.answering import Answering
from conformance.kit.asking import Asked, ask_by_tool, asking_link, failed, needs_input
from conformance.kit.features import sample_form
from conformance.kit.link import Link
from conformance.kit.messages import Message
from conformance.kit.model import MUST, SHOULD, Page
from conformance.kit.shapes import params_problem
from conformance.kit.talk import ServerTalk
from conformance.kit.verdicts import check
from mcpcore.spec.revisions import BY_NAME, LATEST, LATEST_LEGACY, Span

page = Page("client/elicitation")

SINCE_2025_06_18 = Span(BY_NAME["2025-06-18"], LATEST)
SINCE_2025_11_25 = Span(BY_NAME["2025-11-25"], LATEST)
LEGACY_FORMS = Span(BY_NAME["2025-06-18"], LATEST_LEGACY)
ONLY_2025_06_18 = Span(BY_NAME["2025-06-18"], BY_NAME["2025-06-18"])
METHOD = "elicitation/create"
FORM = "test_elicitation"
DEFAULTS = "test_elicitation_sep1034_defaults"
ENUMS = "test_elicitation_sep1330_enums"
URL = "test_elicitation_url"
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
    """Call a tool that asks the user; ``answer`` is a good one by default."""
    by: dict[str, Any] = {} if answer is None else {METHOD: answer}
    declared = DEFAULT if capabilities is None else capabilities
    link = await asking_link(talk, declared, Answering(by=by))
    arguments = {"message": "Who are you?"} if tool == FORM else {}
    return link, await ask_by_tool(link, talk.tool(tool), arguments)


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


@page.server(
    MUST,
    "form-mode-elicitation-requests/shape",
    SINCE_2025_06_18,
    expects="A message, a flat schema of primitive fields, and the mode form or none.",
    needs=(f"tool:{FORM}",),
)
async def shape(talk: ServerTalk) -> None:
    """A form has the shape of its revision."""
    _, found = await asked(talk)
    check_shape(talk, found.one(METHOD))


@page.server(
    MUST,
    "elicitation-requests/message",
    SINCE_2025_06_18,
    expects="A text that says why the user is asked.",
    needs=(f"tool:{FORM}",),
)
async def message(talk: ServerTalk) -> None:
    """Every elicitation says to the user what it is about."""
    _, found = await asked(talk)
    text = found.one(METHOD).params.get("message")
    check(isinstance(text, str) and text, f"the message is {text!r}")


@page.server(
    MUST,
    "requested-schema/primitive-fields",
    SINCE_2025_06_18,
    expects="Forms of flat fields of the kinds that the revision has, or no form.",
    needs=(f"tool:{ENUMS}",),
)
async def primitive_fields(talk: ServerTalk) -> None:
    """The fields of every form are of the kinds that the revision has."""
    for tool in (DEFAULTS, ENUMS, FORM):
        if tool in talk.features.tools:
            _, found = await asked(talk, tool)
            for each in found.of(METHOD):
                check_shape(talk, each)
                kinds = {str(rules.get("type")) for rules in fields(each).values()}
                check("object" not in kinds, f"{tool} asks for an object within a form")


@page.server(
    SHOULD,
    "requested-schema/new-kinds",
    ONLY_2025_06_18,
    expects="No choices with titles, no multiple choices and no defaults of later revisions.",
    needs=(f"tool:{DEFAULTS}", f"tool:{ENUMS}"),
)
async def new_kinds(talk: ServerTalk) -> None:
    """A form has nothing that came with a later revision."""
    for tool in (DEFAULTS, ENUMS):
        _, found = await asked(talk, tool)
        for each in found.of(METHOD):
            for name, rules in fields(each).items():
                new = sorted({"oneOf", "anyOf", "items"} & set(rules))
                if rules.get("type") != "boolean":
                    new += ["default"] if "default" in rules else []
                check(not new, f"the field {name} has {', '.join(new)}")


@page.server(
    SHOULD,
    "requested-schema/defaults",
    SINCE_2025_11_25,
    expects="A default of the field's type in every field that has one.",
    needs=(f"tool:{DEFAULTS}",),
)
async def defaults(talk: ServerTalk) -> None:
    """Defaults are of the type of their fields."""
    _, found = await asked(talk, DEFAULTS)
    known: dict[str, Any] = {"string": str, "integer": int, "number": (int, float), "boolean": bool}
    seen = 0
    for name, rules in fields(found.one(METHOD)).items():
        if "default" not in rules:
            continue
        seen += 1
        value, kind = rules["default"], str(rules.get("type"))
        right = isinstance(value, known.get(kind, list))
        right = right and (kind == "boolean") == isinstance(value, bool)
        check(right, f"the default of {name}, a {kind}, is {value!r}")
        check(value in rules.get("enum", [value]), f"the default of {name} is no choice: {value!r}")
    check(seen, "no field has a default")


@page.server(
    SHOULD,
    "requested-schema/choices",
    SINCE_2025_11_25,
    expects="enum, oneOf with titles, and arrays of either, each as the page has it.",
    needs=(f"tool:{ENUMS}",),
)
async def choices(talk: ServerTalk) -> None:
    """Choices come in each of the forms that the page has."""
    _, found = await asked(talk, ENUMS)
    form = found.one(METHOD)
    check_shape(talk, form)
    for rules in fields(form).values():
        items = rules.get("items", {})
        titled = "oneOf" in rules or "anyOf" in items
        plain = "enum" in rules or "enum" in items
        check(titled != plain, f"a choice has both forms, or none: {rules}")
        names = rules.get("enumNames")
        check(names is None or len(names) == len(rules.get("enum", [])), "names and choices differ")


@page.server(
    MUST,
    "capabilities/declared-only",
    SINCE_2025_06_18,
    expects="No request, and an error or a result that says so.",
    needs=(f"tool:{FORM}",),
)
async def declared_only(talk: ServerTalk) -> None:
    """A client that has not declared elicitation is not asked for it."""
    link, found = await asked(talk, capabilities={})
    check(not found.of(METHOD), f"{METHOD} is asked of a client that has not declared it")
    check(found.reply.message is not None, f"the call got {found.reply}")
    await link.alive()


@page.server(
    MUST,
    "capabilities/no-forms",
    SINCE_2025_11_25,
    expects="No form for a client that takes URLs only.",
    needs=(f"tool:{FORM}",),
)
async def no_forms(talk: ServerTalk) -> None:
    """A client that has not declared forms gets none."""
    _, found = await asked(talk, capabilities={"elicitation": {"url": {}}})
    forms = [each for each in found.of(METHOD) if each.params.get("mode") != "url"]
    check(not forms, "a form is asked of a client that takes URLs only")


@page.server(
    MUST,
    "capabilities/no-urls",
    SINCE_2025_11_25,
    expects="No URL for a client that takes forms only; an empty capability means that.",
    needs=(f"tool:{URL}",),
)
async def no_urls(talk: ServerTalk) -> None:
    """A client that has not declared URL mode gets no URL."""
    forms: tuple[dict[str, Any], ...] = (DEFAULT, {"elicitation": {"form": {}}})
    for declared in forms:
        _, found = await asked(talk, URL, declared)
        urls = [each for each in found.of(METHOD) if each.params.get("mode") == "url"]
        check(not urls, f"a URL is given to a client that declares {declared}")
        data = found.reply.message.value if found.reply.message is not None else {}
        code = data.get("error", {}).get("code")
        check(code != URL_REQUIRED, f"a URL is required of a client that declares {declared}")


@page.server(
    SHOULD,
    "capabilities/empty-is-form",
    SINCE_2025_11_25,
    expects="A form: an empty capability declares forms.",
    needs=(f"tool:{FORM}",),
)
async def empty_is_form(talk: ServerTalk) -> None:
    """An empty capability counts as one of forms."""
    _, found = await asked(talk, capabilities=DEFAULT)
    check(found.of(METHOD), f"a client that declares an empty capability got {found.reply}")


async def _refused(talk: ServerTalk, action: str) -> None:
    link, found = await asked(talk, answer=fixed({"action": action}))
    found.one(METHOD)
    check(found.reply.message is not None, f"after {action} the call got {found.reply}")
    await link.alive()


@page.server(
    MUST,
    "error-handling/decline",
    SINCE_2025_06_18,
    expects="An end of the call, and a server that goes on.",
    needs=(f"tool:{FORM}",),
)
async def decline(talk: ServerTalk) -> None:
    """A user who declines ends the call, or is asked for something else."""
    await _refused(talk, "decline")


@page.server(
    MUST,
    "error-handling/cancel",
    SINCE_2025_06_18,
    expects="An end of the call, and a server that goes on.",
    needs=(f"tool:{FORM}",),
)
async def cancel(talk: ServerTalk) -> None:
    """A user who dismisses the form ends the call, or is asked again."""
    await _refused(talk, "cancel")


@page.server(
    MUST,
    "error-handling/client-error",
    LEGACY_FORMS,
    expects="An end of the call, and a server that goes on.",
    needs=(f"tool:{FORM}",),
)
async def client_error(talk: ServerTalk) -> None:
    """A client that fails to ask its user ends the call and nothing else."""
    error = {"code": -32603, "message": "no user is there"}
    link, found = await asked(talk, answer=fixed({"error": error}))
    found.one(METHOD)
    check(found.reply.message is not None, f"after the client's error the call got {found.reply}")
    await link.alive()


async def _wrong(talk: ServerTalk, answers: tuple[Answer, ...]) -> None:
    for answer in answers:
        link, found = await asked(talk, answer=answer)
        given = answer(found.one(METHOD))
        check(found.reply.message is not None, f"after the answer {given}: {found.reply}")
        taken = not failed(found.reply) and not needs_input(found.reply)
        check(not taken, f"the answer {given} was taken")
        await link.alive()


@page.server(
    SHOULD,
    "response-actions/unknown-action",
    SINCE_2025_06_18,
    expects="An error, a result with isError, or the question again.",
    needs=(f"tool:{FORM}",),
)
async def unknown_action(talk: ServerTalk) -> None:
    """An answer without one of the three actions is not used."""
    await _wrong(talk, (fixed({}), fixed({"action": "perhaps"}), fixed({"action": 1})))


@page.server(
    SHOULD,
    "form-mode-security/server-validates",
    SINCE_2025_06_18,
    expects="An error, a result with isError, or the question again.",
    needs=(f"tool:{FORM}",),
)
async def server_validates(talk: ServerTalk) -> None:
    """What the user fills in is checked against the form."""

    def without_one(request: Message) -> dict[str, Any]:
        filled = sample_form(request.params["requestedSchema"])
        filled.pop(request.params["requestedSchema"]["required"][0])
        return {"action": "accept", "content": filled}

    def of_other_type(request: Message) -> dict[str, Any]:
        filled = sample_form(request.params["requestedSchema"])
        return {"action": "accept", "content": dict.fromkeys(filled, 17)}

    await _wrong(talk, (fixed({"action": "accept", "content": {}}), without_one, of_other_type))


__all__ = ["page"]
