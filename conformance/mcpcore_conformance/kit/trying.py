"""Trying what a server offers: which requests it answers by questions, which calls become tasks.

This is done once for each revision and binding, on a conversation of its own, by the first case
that needs it and finds nothing of the fixture.  No tool is called that may not be.
"""

from collections.abc import Iterator
from typing import Any

from msgspec import Struct, structs

from mcpcore.spec.revisions import BY_NAME
from mcpcore_conformance.kit.answering import Answering
from mcpcore_conformance.kit.asking import (
    QUESTIONS,
    Asked,
    ask_about,
    asking_link,
    check_asks,
    listen_too,
    needs_input,
    worked,
)
from mcpcore_conformance.kit.belonging import Question, questions_of
from mcpcore_conformance.kit.features import Features
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.reply import Reply, Sent
from mcpcore_conformance.kit.shown import (
    CALL,
    ELICITATION,
    FOUND,
    PROMPT,
    READ,
    Asker,
    Shown,
    kind_of,
)
from mcpcore_conformance.kit.talk import ServerTalk, all_capabilities
from mcpcore_conformance.kit.verdicts import Broken, Ended, check

MOST = 12
"""Tools that are tried, at most."""
OTHERS = 4
"""Prompts, and resources, that are tried, at most."""
PATIENCE = 2.0
"""Seconds that something tried may take to ask."""
ROUNDS = 8
"""Rounds of one request that are answered, at most."""
SILENT = 3
"""Maximum number of offers that leave the kit without an answer; then nothing else is tried."""
LOOKING = 4
"""Maximum time for trying, in multiples of the time for an answer: a case has time for that."""
URLS = BY_NAME["2025-11-25"]
"""The first revision in which a user can be asked to visit a page."""
NEEDY = "test_missing_capability"
"""The tool of the fixture that needs a client that can sample."""
ARGUMENTS: dict[str, dict[str, Any]] = {
    "test_elicitation": {"message": "Who are you?"},
    "test_sampling": {"prompt": "Say something."},
}
"""Arguments of tools of the fixture that need some to ask."""


async def askers(talk: ServerTalk, what: str, *names: str) -> list[Asker]:
    """Return the offers that ask for ``what`` (see ``FOUND``); with none, the case does not apply.

    ``names``: tools of the fixture (``prompt:NAME``: a prompt); the first that is there is all.
    """
    for name in names:
        if (known := _known(talk.features, name)) is not None:
            return [known]
    found = [each for each in (await _looked(talk)).askers if each.gives(what)]
    if not found:
        nothing = f"no tool that may be called, no prompt and no resource is {FOUND[what]}"
        talk.skip("; ".join([nothing, *talk.features.shown.late]))
    # who asks for nothing else says most clearly what becomes of an answer
    return sorted(found, key=lambda each: len({str(one.get("method")) for one in each.questions}))


async def asker(talk: ServerTalk, what: str, *names: str) -> Asker:
    """The first of them."""
    return (await askers(talk, what, *names))[0]


async def needy(talk: ServerTalk) -> tuple[Asker, dict[str, Any]]:
    """Return an offer that asks for something, and the capabilities to be declared for it."""
    found = await askers(talk, "input", NEEDY)
    if found[0].known:
        return found[0], {"sampling": {}}
    for each in found:
        if declared := each.besides(""):
            return each, declared
    talk.skip("no tool asks for anything that a client has to declare")


def _known(features: Features, name: str) -> Asker | None:
    kind, _, prompt = name.partition(":")
    if prompt:
        there = any(each.get("name") == prompt for each in features.prompts)
        return Asker(PROMPT, {"name": prompt}, known=True) if there else None
    if kind not in features.tools:
        return None
    arguments = ARGUMENTS.get(name, {})
    return Asker(CALL, {"name": name, "arguments": arguments}, known=True)


async def ask(
    link: Link, asked: Asker, arguments: dict[str, Any] | None = None, **more: Any
) -> Reply:
    """Make the request; ``more`` are further params, ``arguments`` others than those it has."""
    params = {**asked.params, **more}
    if arguments is not None:
        params["arguments"] = arguments
    return await link.request(asked.method, params)


def check_still_asks(talk: ServerTalk, asked: Asker, reply: Reply) -> None:
    """Check that a request is answered by questions, as it should be, or as it was before.

    Who does not ask a second time may know the answer by now, or counts on the retry, of which
    there is a case.
    """
    if asked.known or needs_input(reply):
        check_asks(reply, str(asked))
    else:
        talk.skip(f"no tool asks again: {asked} required input before, and got {reply}")


def unanswering() -> Answering:
    """A client that leaves all questions open."""
    return Answering(by=dict.fromkeys(QUESTIONS, lambda _: None))


async def questioned(
    talk: ServerTalk,
    asked: Asker,
    method: str,
    declared: dict[str, Any],
    answering: Answering,
) -> tuple[Link, Asked]:
    """Have the client asked: one that declares this, and what is asked for besides ``method``."""
    link = await asking_link(talk, {**asked.besides(method), **declared}, answering)
    found = await ask_about(link, asked.method, asked.params)
    if not asked.known:
        # the server may ask for something else meanwhile, of its own accord
        found.requests = [each for each in found.requests if kind_of(each.value) in asked.kinds]
    return link, found


async def own_questions(link: Link, asked: Asker) -> list[Question]:
    """Make the request; return the questions that belong to it."""
    before, began = len(link.asked), link.talk.stage.now()
    reply = await link.reply(await asked.begin(link))
    return await questions_of(link, reply, before, link.talk.stage.now() - began, asked.begin)


async def when_declined(talk: ServerTalk, asked: Asker, declared: dict[str, Any]) -> Any:
    """Return the content of a request's result if the user declines; None if it does not work."""
    answering = Answering(by={ELICITATION: lambda _: {"action": "decline"}})
    _, found = await questioned(talk, asked, ELICITATION, declared, answering)
    return found.reply.result.get("content") if worked(found.reply) else None


class Round(Struct):
    """The last round of a request: the one that is carried out when all is answered well."""

    asked: Asker
    rounds: int
    """Number of results that require input before it."""
    result: dict[str, Any]
    """The one that it had."""

    async def anew(self, link: Link) -> dict[str, Any]:
        """Play all rounds but the last again; returns what the last one adds to the params."""
        params: dict[str, Any] = {}
        for _ in range(self.rounds):
            reply = await ask(link, self.asked, **params)
            check_still_asks(link.talk, self.asked, reply)
            params = _again(link, reply)
        return params


async def last_round(talk: ServerTalk, link: Link, asked: Asker) -> Round:
    """Play a request to its end, answering everything.

    Of what is not of the fixture nobody knows which answers it takes: if it comes to nothing, the
    case does not apply.
    """
    params: dict[str, Any] = {}
    for rounds in range(ROUNDS):
        reply = await ask(link, asked, **params)
        if not needs_input(reply):
            if not rounds:
                check_still_asks(talk, asked, reply)
            if not worked(reply) and asked.known:
                raise Broken(f"with good answers, {asked} got {reply}")
            if not worked(reply):
                talk.skip(f"no tool takes what the kit makes up: with answers, {asked} got {reply}")
            return Round(asked, rounds, reply.result)
        params = _again(link, reply)
    endless = f"{asked} asks again and again"
    check(not asked.known, endless)
    talk.skip(f"no tool takes what the kit makes up: {endless}")


def _again(link: Link, reply: Reply) -> dict[str, Any]:
    """The params that a client adds to its retry."""
    return link.again({}, reply.result)


async def _looked(talk: ServerTalk) -> Shown:
    """Return the offers that ask for something, after a look if there was none before."""
    shown = talk.features.shown
    async with shown.turn:
        if "askers" not in shown.looked:
            try:
                await _Look(talk, shown).askers()
            finally:
                # whoever has no time left for it leaves what was found: nobody looks twice
                shown.looked.add("askers")
    return shown


def tried_until(talk: ServerTalk) -> float:
    """Return the time after which no new try is begun, by the stage's clock."""
    return talk.stage.now() + LOOKING * talk.timing.answer


def calls(talk: ServerTalk, most: int = MOST) -> Iterator[dict[str, Any]]:
    """The params of calls of what may be called, with made-up arguments."""
    for tool in talk.features.tried_tools(most):
        yield {"name": tool.name, "arguments": talk.arguments(tool)}


def _requests(talk: ServerTalk) -> Iterator[Asker]:
    for params in calls(talk):
        yield Asker(CALL, params)
    for prompt in talk.features.prompts[:OTHERS]:
        yield Asker(PROMPT, talk.features.params_for((PROMPT, prompt["name"])))
    for resource in talk.features.resources[:OTHERS]:
        yield Asker(READ, talk.features.params_for((READ, resource["uri"])))


class _Look:
    """Look at the offers, on conversations that no case has."""

    def __init__(self, talk: ServerTalk, shown: Shown) -> None:
        self.shown = shown
        self.talk = talk.apart()
        self._silent = 0
        self._open: Link | None = None

    async def askers(self) -> None:
        """Try everything, declaring all that a client may have."""
        declared = all_capabilities(self.talk.revision)
        if "elicitation" in declared and self.talk.revision.position >= URLS.position:
            declared["elicitation"] = {"form": {}, "url": {}}
        self.shown.askers.clear()
        late = tried_until(self.talk)
        try:
            for tried in _requests(self.talk):
                if self._silent < SILENT and self.talk.stage.now() < late:
                    await self._try(tried, declared)
        finally:
            await self.talk.close(keep=False)

    async def _try(self, tried: Asker, declared: dict[str, Any]) -> None:
        """Make a request; what goes wrong is for cases to find."""
        try:
            link = await self._link(declared)
            # what was asked while nobody listened is not of this one
            await link.fence()
            before, began = len(link.asked), self.talk.stage.now()
            reply = await self._reply(link, await tried.begin(link))
            if reply.pending:
                return
            took = self.talk.stage.now() - began
            found = await questions_of(link, reply, before, took, tried.begin)
        except Ended:
            return
        if not found and not needs_input(reply):
            return
        state = needs_input(reply) and isinstance(reply.result.get("requestState"), str)
        questions = tuple(each.message.value for each in found)
        wire = not needs_input(reply)
        self.shown.askers.append(
            structs.replace(tried, questions=questions, state=state, wire=wire)
        )

    async def _reply(self, link: Link, sent: Sent) -> Reply:
        """Wait for an answer: longer where something was asked, which may be for this request."""
        known, answer = len(link.asked), self.talk.timing.answer
        patience = min(PATIENCE, answer)
        reply = await link.reply(sent, patience)
        if reply.pending and len(link.asked) > known:
            reply, patience = await link.reply(sent, answer - patience), answer
        if reply.pending:
            # what it asks late is not to be taken for what the next one asks
            self._silent += 1
            self._open = None
            self.shown.late.append(f"{sent.named} takes longer than {patience:g} s")
            if patience >= answer:
                self.talk.features.pace.took(sent.offer, answer)
            await link.cancel(sent)
        return reply

    async def _link(self, declared: dict[str, Any]) -> Link:
        """The conversation, or a new one where that has ended."""
        if self._open is not None and self._open.gone is None:
            return self._open
        link = await self.talk.connect(capabilities=declared)
        if link.revision.handshake:
            await link.initialize()
            await listen_too(link)
        self._open = link
        return link
