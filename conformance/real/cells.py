"""What is tried of a client and a server, whoever made them; each cell can fail.

Runs in environments of other libraries, too: the standard library and anyio only.  What a server
is known to have, its *offer*, is an object out of ``programs.toml``.
"""

import argparse
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

import anyio

from conformance.interop.drivers.caller import Caller, Object, Unavailable, expect, text_of

PATIENCE = 60.0
"""Seconds that one cell may take; most take a few milliseconds."""
NEWS = 30.0
"""Seconds for word of a change; behind some proxies they are over each time."""
DETAIL = 300
"""Characters of what went wrong."""
LISTS = {
    "tools": ("tools/list", "tools", "name"),
    "resources": ("resources/list", "resources", "uri"),
    "templates": ("resources/templates/list", "resourceTemplates", "uriTemplate"),
    "prompts": ("prompts/list", "prompts", "name"),
}
"""Of each list: method, member of the result, and what an entry is known by."""
UPDATED = "notifications/resources/updated"

OK, FAILED, UNAVAILABLE = "ok", "failed", "unavailable"
Offer = Mapping[str, Any]


async def opens(caller: Caller, offer: Offer) -> None:
    """The handshake, or discovery: who the server is, and the revision, where these are told."""
    opened = await caller.opening()
    name = opened.get("serverInfo", {}).get("name", offer["server"])
    expect(offer["server"] in name, f"it is called {name!r}")
    revision = opened.get("protocolVersion")
    if revision is not None and offer.get("revision"):
        expect(revision == offer["revision"], f"it speaks {revision}")


async def lists(caller: Caller, offer: Offer) -> None:
    """Everything that it lists, page by page; what the library cannot list is passed over."""
    for kind, (method, member, name) in LISTS.items():
        if wanted := offer.get(kind):
            try:
                found = [each[name] for each in await caller.all_pages(method, member)]
            except Unavailable:
                continue
            missing = sorted({*wanted} - {*found})
            expect(not missing, f"{method} has no {', '.join(missing)}, but {', '.join(found)}")
            expect(len(found) == len({*found}), f"{method} has something twice: {found}")


async def calls(caller: Caller, offer: Offer) -> None:
    """Tools, with results that are known; also one that fails."""
    for call in offer.get("calls", ()):
        await _call(caller, call)


async def asks(caller: Caller, offer: Offer) -> None:
    """Tools that ask the user, the model or for the roots, and answer with what they were told."""
    for call in offer.get("asks", ()):
        await _call(caller, call)


async def reads(caller: Caller, offer: Offer) -> None:
    """Resources, also out of templates."""
    for read in offer.get("reads", ()):
        contents = (await caller.read(read["uri"]))["contents"]
        text = " ".join(each.get("text") or each.get("blob", "") for each in contents)
        expect(read["expects"] in text, f"{read['uri']}: {text}")


async def prompts(caller: Caller, offer: Offer) -> None:
    """Prompts, with arguments where they have some."""
    for prompt in offer.get("fills", ()):
        filled = await caller.prompt(prompt["prompt"], prompt.get("arguments"))
        text = json.dumps([each["content"] for each in filled["messages"]], ensure_ascii=False)
        expect(prompt["expects"] in text, f"{prompt['prompt']}: {text}")


async def completes(caller: Caller, offer: Offer) -> None:
    """Values proposed for the argument of a prompt."""
    for wanted in offer.get("completes", ()):
        ref = {"type": "ref/prompt", "name": wanted["prompt"]}
        found = await caller.complete(ref, wanted["argument"], wanted["value"])
        values = found["completion"]["values"]
        expect(wanted["expects"] in values, f"{wanted['prompt']}: {values}")


async def changes(caller: Caller, offer: Offer) -> None:
    """A resource that is subscribed to, and changes once a tool is called."""
    for change in offer.get("changes", ()):
        uri = change["uri"]
        with anyio.move_on_after(NEWS) as limit:
            async with _updates(caller, uri) as next_update:
                await _call(caller, change)
                found = await next_update()
                expect(found["uri"] == uri, f"{UPDATED} of {found['uri']}")
        expect(not limit.cancelled_caught, f"no word of a change of {uri} within {NEWS:g} s")


async def agent(caller: Caller, offer: Offer) -> None:
    """An agent of the library whose model calls a tool; only some libraries have any."""
    call = offer["calls"][0]
    run: Callable[[str, Object], Awaitable[str]] = caller.agent  # type: ignore[attr-defined]
    said = await run(call["tool"], call.get("arguments", {}))
    expect(call["expects"] in said, said)


CELLS: dict[str, Callable[[Caller, Offer], Awaitable[None]]] = {
    "opens": opens,
    "lists": lists,
    "calls": calls,
    "reads": reads,
    "prompts": prompts,
    "completes": completes,
    "changes": changes,
    "asks": asks,
    "agent": agent,
}

NEEDS = {
    "calls": "calls",
    "asks": "asks",
    "reads": "reads",
    "prompts": "fills",
    "completes": "completes",
    "changes": "changes",
    "agent": "calls",
}
"""What an offer has to have for a cell."""


async def _call(caller: Caller, call: Offer) -> None:
    result = await caller.call(call["tool"], call.get("arguments"))
    if call.get("fails"):
        expect(result.get("isError"), f"{call['tool']} has not failed: {result}")
        text = json.dumps(result["content"], ensure_ascii=False)
    else:
        text = text_of(result)
    expect(call["expects"] in text, f"{call['tool']}: {text}")


@asynccontextmanager
async def _updates(caller: Caller, uri: str) -> AsyncIterator[Callable[[], Awaitable[Object]]]:
    """Subscribe to a resource in the way of the era; yield what waits for the first update."""
    if caller.modern:
        async with caller.listen({"resourceSubscriptions": [uri]}) as heard:
            yield heard.__anext__
    else:
        mark = caller.news.mark
        await caller.subscribe(uri)

        async def first() -> Object:
            return (await caller.news.wait(mark, UPDATED))[0]

        yield first


class Open(Protocol):
    """Connects to ``target``, a URL or the command of a server on stdio."""

    def __call__(
        self, target: str | list[str], *, revision: str | None
    ) -> AbstractAsyncContextManager[Caller]:
        """Open a connection for the time of a block; ``revision``: the only one to speak."""
        ...


def main(open_caller: Open) -> int:
    """Try the cells that the command line names; print a line of JSON for each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cells", required=True, help="names, with commas")
    parser.add_argument("--offer", type=json.loads, required=True, help="what the server has")
    parser.add_argument("--revision", help="the only one to speak")
    parser.add_argument("target", nargs="+", help="a URL, or -- and the command of a stdio server")
    chosen = parser.parse_args()
    words: list[str] = chosen.target
    target = words[0] if "://" in words[0] else words
    anyio.run(_run, open_caller, target, chosen.revision, chosen.cells.split(","), chosen.offer)
    return 0


async def _run(
    open_caller: Open,
    target: str | list[str],
    revision: str | None,
    cells: list[str],
    offer: Offer,
) -> None:
    async with open_caller(target, revision=revision) as caller:
        for name in cells:
            outcome, detail = await _try(CELLS[name], caller, offer)
            sys.stdout.write(json.dumps([name, outcome, detail[:DETAIL]]) + "\n")
            sys.stdout.flush()


async def _try(
    cell: Callable[[Caller, Offer], Awaitable[None]], caller: Caller, offer: Offer
) -> tuple[str, str]:
    try:
        with anyio.fail_after(PATIENCE):
            await cell(caller, offer)
    except Unavailable as missing:
        return UNAVAILABLE, str(missing)
    except TimeoutError:
        return FAILED, f"not done within {PATIENCE:g} s"
    except Exception as error:
        return FAILED, f"{type(error).__name__}: {error}"
    return OK, ""
