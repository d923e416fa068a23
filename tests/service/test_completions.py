"""Completion of the arguments of prompts and the variables of templates."""

from collections.abc import Iterator
from typing import Any

import pytest

from mcpcore.service import Server
from mcpcore.spec.errors import INTERNAL_ERROR, INVALID_PARAMS, McpError
from mcpcore.spec.revisions import LATEST
from mcpcore.spec.types.prompts import (
    CompleteResult,
    Completion,
    CompletionArgument,
    CompletionContext,
    PromptReference,
    ResourceTemplateReference,
)
from tests.service.calling import CONTEXT, Context, ask

PROMPT = {"type": "ref/prompt", "name": "review"}
TEMPLATE = {"type": "ref/resource", "uri": "file:///{dir}/{name}"}


def completions() -> Server:
    server = Server("s")
    server.add_prompt(lambda language, framework="": "x", "review")
    server.add_resource("file:///{dir}/{name}", lambda dir, name: "x")
    server.add_resource("file:///fixed", "x")

    @server.completion(prompt="review", argument="language")
    def languages(typed: str) -> list[str]:
        return [word for word in ("python", "perl", "rust") if word.startswith(typed)]

    @server.completion(template="file:///{dir}/{name}")
    async def paths(
        context: Context, typed: str, arguments: dict[str, str], argument: str
    ) -> list[str]:
        assert context is CONTEXT
        return [f"{argument}={typed}", *sorted(f"{k}={v}" for k, v in arguments.items())]

    return server


def complete(server: Server, ref: Any, argument: str, value: str = "", known: Any = None) -> Any:
    params: dict[str, Any] = {"ref": ref, "argument": {"name": argument, "value": value}}
    if known is not None:
        params["context"] = known
    result = ask(server, "completion/complete", params)
    assert set(result) == {"completion"}
    return result["completion"]


def test_prompts_and_templates() -> None:
    server = completions()
    assert complete(server, PROMPT, "language", "p") == {
        "values": ["python", "perl"],
        "total": 2,
        "hasMore": False,
    }
    found = complete(server, TEMPLATE, "name", "a", {"arguments": {"dir": "src"}})
    assert found["values"] == ["name=a", "dir=src"]


def test_nothing_to_propose() -> None:
    server = completions()
    nothing = {"values": [], "total": 0, "hasMore": False}
    assert complete(server, PROMPT, "framework") == nothing
    assert complete(server, {"type": "ref/resource", "uri": "file:///fixed"}, "any") == nothing


def test_a_uri_stands_for_its_template() -> None:
    server = completions()
    ref = {"type": "ref/resource", "uri": "file:///a/b"}
    found = complete(server, ref, "dir", known={"arguments": {"x": "y"}})
    assert found["values"][0] == "dir="


@pytest.mark.requirement(
    "server/utilities/completion/errors",
    "server/utilities/completion/server-validates",
    "server/utilities/completion/inputs-validated",
)
@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({}, "params.ref: Missing"),
        ({"ref": {"type": "ref/other"}}, "params.ref"),
        ({"ref": PROMPT}, "params.argument: Missing"),
        ({"ref": PROMPT, "argument": {"name": "language"}}, "params.argument.value: Missing"),
        (
            {"ref": PROMPT, "argument": {"name": "language", "value": 5}},
            "params.argument.value: Expected str",
        ),
        (
            {"ref": PROMPT, "argument": {"name": "speed", "value": ""}},
            "argument.name: 'review' has no argument 'speed'",
        ),
        (
            {"ref": TEMPLATE, "argument": {"name": "speed", "value": ""}},
            "has no argument 'speed'",
        ),
        (
            {"ref": {"type": "ref/prompt", "name": "no"}, "argument": {"name": "a", "value": ""}},
            "Unknown prompt: no",
        ),
        (
            {"ref": {"type": "ref/resource", "uri": "x:y"}, "argument": {"name": "a", "value": ""}},
            "Unknown resource template: x:y",
        ),
        (
            {
                "ref": {"type": "ref/resource", "uri": "file:///a/%2e%2e"},
                "argument": {"name": "a", "value": ""},
            },
            "Unknown resource template",
        ),
        (
            {
                "ref": PROMPT,
                "argument": {"name": "language", "value": ""},
                "context": {"arguments": {"a": 1}},
            },
            "params.context.arguments",
        ),
    ],
)
def test_bad_params(params: Any, says: str) -> None:
    with pytest.raises(McpError, match=says) as caught:
        ask(completions(), "completion/complete", params)
    assert caught.value.code == INVALID_PARAMS


def endless() -> Iterator[str]:
    while True:
        yield "x"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ([], 0, False)),
        ([], ([], 0, False)),
        (("a", "b"), (["a", "b"], 2, False)),
        (["x"] * 100, (["x"] * 100, 100, False)),
        (["x"] * 101, (["x"] * 100, 101, True)),
        (["x"] * 5000, (["x"] * 100, 5000, True)),
        (endless(), (["x"] * 100, None, True)),
        (Completion(values=["a"]), (["a"], None, None)),
        (Completion(values=["a"], total=9, has_more=True), (["a"], 9, True)),
        (Completion(values=["a"] * 200, total=300), (["a"] * 100, 300, True)),
        (
            CompleteResult(completion=Completion(values=["a"]), meta={"k": 1}),
            (["a"], None, None),
        ),
    ],
)
def test_values(value: Any, expected: tuple[list[str], int | None, bool | None]) -> None:
    server = Server("s")
    server.add_prompt(lambda a: "x", "p")
    server.completion(prompt="p", argument="a")(lambda typed: value)
    completion = complete(server, {"type": "ref/prompt", "name": "p"}, "a")
    assert (completion["values"], completion.get("total"), completion.get("hasMore")) == expected


def test_meta_is_handed_over() -> None:
    server = completions()
    params = (
        b'{"ref":{"type":"ref/prompt","name":"review"},"argument":{"name":"language","value":""}}'
    )
    prepared = server.prepare("completion/complete", params, LATEST)
    prepared.finish(CompleteResult(completion=Completion(values=[]), meta={"k": 1}))
    assert prepared.meta == {"k": 1}


@pytest.mark.parametrize("value", ["text", 5, [1], Completion(values=[1])])  # type: ignore[list-item]
def test_what_is_no_proposal_names_the_rule(value: Any) -> None:
    server = Server("s")
    server.add_prompt(lambda a: "x", "p")
    server.completion(prompt="p", argument="a")(lambda typed: value)
    with pytest.raises(McpError, match="Internal error: the result is no list of") as caught:
        complete(server, {"type": "ref/prompt", "name": "p"}, "a")
    assert caught.value.code == INTERNAL_ERROR


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda: [], "must take the text"),
        (lambda typed, **rest: [], "must take the text"),
        (lambda typed, other: [], "parameter 'other'"),
    ],
)
def test_functions_that_cannot_complete(function: Any, says: str) -> None:
    with pytest.raises(TypeError, match=f"completion of a of prompt 'p': .*{says}"):
        Server("s").completion(prompt="p", argument="a")(function)


@pytest.mark.parametrize("owner", [{"argument": "a"}, {"prompt": "p", "template": "t:{a}"}])
def test_a_completion_has_one_owner(owner: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="name one of them"):
        Server("s").completion(**owner)


@pytest.mark.parametrize("owner", [{}, {"prompt": "p"}, {"prompt": "p", "argument": "a"}])
def test_an_argument_has_one_function(owner: dict[str, Any]) -> None:
    server = Server("s")
    server.completion(**owner)(lambda argument: [])
    with pytest.raises(ValueError, match=r"completion of .* is declared already"):
        server.completion(**owner)(lambda argument: [])


def test_one_function_for_whatever_has_none_of_its_own() -> None:
    server = completions()
    asked: list[Any] = []

    @server.completion()
    async def everything(
        ref: PromptReference | ResourceTemplateReference,
        argument: CompletionArgument,
        context: CompletionContext | None,
        given: Context,
    ) -> Completion | None:
        assert given is CONTEXT
        asked.append((ref, argument, context))
        return Completion(values=["general"]) if argument.value else None

    assert complete(server, PROMPT, "language", "p")["values"] == ["python", "perl"]
    assert complete(server, TEMPLATE, "dir", "x")["values"][0] == "dir=x"
    assert asked == []
    known = {"arguments": {"language": "c"}}
    assert complete(server, PROMPT, "framework", "x", known)["values"] == ["general"]
    assert complete(server, PROMPT, "framework")["values"] == []
    said = CompletionContext(arguments={"language": "c"})
    assert asked == [
        (PromptReference(name="review"), CompletionArgument(name="framework", value="x"), said),
        (PromptReference(name="review"), CompletionArgument(name="framework", value=""), None),
    ]
    with pytest.raises(McpError, match="has no argument 'colour'"):
        complete(server, PROMPT, "colour")
    server.add_resource("t:{a}", lambda a: a)
    assert complete(server, {"type": "ref/resource", "uri": "t:{a}"}, "a", "x")["values"]
    assert asked[-1][0] == ResourceTemplateReference(uri="t:{a}")
    server.add_resource("t:b", "x")
    with pytest.raises(TypeError, match="parameter 'typed': only 'ref', 'argument', 'context' can"):
        Server("s").completion()(lambda typed: [])


def test_a_server_with_nothing_but_that_function_completes() -> None:
    server = Server("s")
    server.completion()(lambda argument: [argument.name])
    server.add_prompt(lambda a: "x", "p")
    assert server.capabilities().completions == {}
    assert complete(server, {"type": "ref/prompt", "name": "p"}, "a")["values"] == ["a"]


def test_a_function_for_one_argument_goes_first() -> None:
    server = Server("s")
    server.add_prompt(lambda a, b: "x", "p")
    server.completion(prompt="p")(lambda typed, argument: [f"any {argument}"])
    server.completion(prompt="p", argument="a")(lambda typed: ["just a"])
    ref = {"type": "ref/prompt", "name": "p"}
    assert complete(server, ref, "a")["values"] == ["just a"]
    assert complete(server, ref, "b")["values"] == ["any b"]
    server.remove_prompt("p")
    server.add_prompt(lambda a: "x", "p")
    assert complete(server, ref, "a")["values"] == []
