"""Mutants of clients for the pages of what clients do: elicitation, roots, sampling."""

from collections.abc import Callable, Iterable

from conformance.mutants.client_fault import ClientBreaks, ClientFault, Value
from conformance.mutants.client_faults import also_asks, answers, gives_up, never_says, params_of
from conformance.mutants.edits import over, put
from conformance.mutants.model import Table
from mcpcore.spec.types.base import META_CLIENT_CAPABILITIES
from mcpcore_conformance.kit.messages import METHOD_NOT_FOUND, error, result

elicitation = Table("client/elicitation")
roots = Table("client/roots")
sampling = Table("client/sampling")
table = elicitation

ELICIT, LIST, CREATE = "elicitation/create", "roots/list", "sampling/createMessage"


def says_of(method: str, edit: Callable[[Value], Value]) -> ClientBreaks:
    """Edit the answers of a client to a request of the server, in either era."""

    class Edits(ClientFault):
        def said(self, value: Value) -> Iterable[Value | bytes]:
            if "method" not in value:
                concerned = self.method_of(value) == method and "result" in value
                return ({**value, "result": edit(value["result"])} if concerned else value,)
            params = value.get("params", {})
            if "asked" not in params.get("inputResponses", {}):
                return (value,)
            responses = {"asked": edit(params["inputResponses"]["asked"])}
            return ({**value, "params": {**params, "inputResponses": responses}},)

    return Edits


def undeclared(name: str) -> Callable[[Value], Value]:
    """Capabilities without one, in the params of initialize and of later requests."""

    def change(params: Value) -> Value:
        params = {**params}
        if "capabilities" in params:
            params["capabilities"] = {**params["capabilities"], name: True}
        meta = params.get("_meta", {})
        if META_CLIENT_CAPABILITIES in meta:
            declared = {**meta[META_CLIENT_CAPABILITIES], name: True}
            params["_meta"] = {**meta, META_CLIENT_CAPABILITIES: declared}
        return params

    return change


def obliges(method: str, found: Value) -> ClientBreaks:
    """Answer with a result where there was an error."""
    return answers(method, lambda value: result(value["id"], found))


def refuses(method: str) -> ClientBreaks:
    """Answer with an error of another code."""
    return answers(method, lambda value: error(value["id"], METHOD_NOT_FOUND, "no"))


for each, name in ((elicitation, "elicitation"), (roots, "roots"), (sampling, "sampling")):
    each.client(
        "declares-by-true", "capabilities/client-declares", "capabilities/client-declares-each-time"
    ).does(f"Declares {name} as true.", params_of("", undeclared(name)))

elicitation.client("needs-mode", "default-mode").does(
    "Cancels what has no mode.", says_of(ELICIT, lambda answer: {"action": "cancel"})
)
elicitation.client("no-defaults", "defaults").does(
    "Leaves out what nobody filled in.",
    says_of(ELICIT, lambda answer: {"action": "accept", "content": {}}),
)
elicitation.client("fills-in-strings", "validates").does(
    "Fills in text everywhere.",
    says_of(ELICIT, over("content", lambda content: dict.fromkeys(content, "test"))),
)
elicitation.client("gives-away", "declines").does(
    "Declines, and sends what was filled in.", says_of(ELICIT, put(content={"word": "secret"}))
)
elicitation.client("takes-urls", "undeclared-mode").does(
    "Answers a URL that it did not say it takes.", obliges(ELICIT, {"action": "accept"})
)
elicitation.client("other-code", "undeclared-mode").does(
    "Refuses a URL with another code.", refuses(ELICIT)
)
elicitation.client("prefetches", "no-prefetch").does(
    "Looks at a URL before the user does.", also_asks("HEAD", "/canary")
)
elicitation.client("dies-of-completion", "unknown").does(
    "Fails when something is complete that it does not know.",
    gives_up(lambda value, payload: b"elicitation/complete" in payload),
)
roots.client("web-roots", "file-uris").does(
    "Has roots in the web.",
    says_of(LIST, lambda answer: {"roots": [{"uri": "https://example.com/"}]}),
)
roots.client("empty-roots", "without-roots").does(
    "Answers with no roots where there are none.", obliges(LIST, {"roots": []})
)
roots.client("silent", "notifies").does(
    "Does not say that its roots have changed.", never_says("notifications/roots/list_changed")
)
sampling.client("no-model", "answers").does(
    "Does not say which model it was.", says_of(CREATE, put(model=None))
)
sampling.client("takes-tools", "undeclared", "unbalanced").does(
    "Takes everything.",
    obliges(CREATE, {"role": "assistant", "content": {"type": "text", "text": "x"}, "model": "m"}),
)
