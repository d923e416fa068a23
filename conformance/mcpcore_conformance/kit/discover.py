"""Looking at a server before its cases are played: what it speaks, declares and offers."""

from contextlib import nullcontext
from typing import Any
from urllib.parse import urlsplit

import anyio
from msgspec import UNSET

from mcpcore.spec.revisions import Revision
from mcpcore_conformance.kit.features import OFFERS, TEMPLATES, Features, Tool
from mcpcore_conformance.kit.heard import header
from mcpcore_conformance.kit.link import FORBIDDEN, UNAUTHORIZED, Link
from mcpcore_conformance.kit.lists import is_unknown
from mcpcore_conformance.kit.log import Log
from mcpcore_conformance.kit.messages import Kind
from mcpcore_conformance.kit.reply import Reply
from mcpcore_conformance.kit.talk import ServerTalk, Timing
from mcpcore_conformance.kit.verdicts import Broken, Ended, Inconclusive
from mcpcore_conformance.kit.wire import Refused, Stage

PAGES = 100
"""Pages of a list that are read at most."""
LAST = 300
"""Characters of standard error that are shown of a server that cannot be looked at."""
REDIRECTIONS = range(300, 400)
METHOD_NOT_FOUND = -32601


async def discover(
    stage: Stage, revision: Revision, timing: Timing, *, limit: float | None = None
) -> Features:
    """Find out what a server offers in a revision; what goes wrong is listed, not raised.

    ``limit``: seconds that it may take as a whole, on the event loop's clock.
    """
    features = Features(revision="")
    talk = ServerTalk(stage, revision, features, log=Log(stage.now), timing=timing, seed=0)
    talk.skips_noise = True
    try:
        with nullcontext() if limit is None else anyio.move_on_after(limit) as scope:
            await (_handshake if revision.handshake else _metadata)(talk, features)
        if scope is not None and scope.cancelled_caught:
            features.problems.append(f"no end after {limit:g} seconds")
        features.silent = not any(_heard(each) or each.gone for each in talk.links)
    except Ended as error:
        features.problems.append(error.detail)
        # to refuse a connection by a status is to say something
        if isinstance(error.__cause__, Refused) and error.__cause__.status is not None:
            features.heard = features.declined = True
            features.status = error.__cause__.status
            features.guarded = features.status == UNAUTHORIZED
            if features.status in REDIRECTIONS:
                features.location = header(error.__cause__.headers, "location") or ""
    finally:
        features.heard |= any(map(_heard, talk.links))
        for each in talk.links:
            await each.wire.close()
    _noise(talk, features)
    if features.status == FORBIDDEN:
        features.guarded = await _forbids_also_itself(stage, revision, timing)
    if features.problems:
        features.problems += [f"standard error: {last}" for last in map(_last, talk.links) if last]
    return features


async def _forbids_also_itself(stage: Stage, revision: Revision, timing: Timing) -> bool:
    """Return True if a server that answers 403 does so to requests from its own origin, too.

    To want an Origin of programs that are no browsers is a fault, of which there are cases.
    """
    target = urlsplit(stage.target)
    scheme = "https" if target.scheme in ("https", "wss") else "http"
    origin = [("origin", f"{scheme}://{target.netloc.rpartition('@')[2]}")]
    features = Features(revision="")
    talk = ServerTalk(stage, revision, features, log=Log(stage.now), timing=timing, seed=0)
    try:
        link = await talk.connect(headers=origin)
        if revision.handshake:
            reply = await link.request("initialize", link.opening())
        else:
            reply = await link.request("server/discover")
    except Ended as error:
        return isinstance(error.__cause__, Refused) and error.__cause__.status == FORBIDDEN
    finally:
        for each in talk.links:
            await each.wire.close()
    return reply.status == FORBIDDEN


def _noise(talk: ServerTalk, features: Features) -> None:
    """Consider the lines that were skipped: who has sent no messages may have meant these."""
    strays = [stray for link in talk.links for stray in link.strays]
    if not strays:
        return
    features.noisy = True
    if sum(link.heard for link in talk.links) == len(strays):
        features.declined = False
        features.problems.insert(0, f"the server sent an invalid message: {strays[0].told}")


def _heard(link: Link) -> bool:
    return bool(link.heard or link.heads or link.events)


def _last(link: Link) -> str:
    """The last lines that a program has written to its standard error."""
    stderr = getattr(link.wire, "stderr", None)  # of a ProcessWire
    lines = [] if stderr is None else stderr().decode("utf-8", "replace").split("\n")
    return " / ".join(line.strip() for line in lines if line.strip())[-LAST:]


async def _handshake(talk: ServerTalk, features: Features) -> None:
    link = await talk.connect()
    reply = await link.request("initialize", link.opening())
    if not reply.good:
        _refused(reply, features)
        return
    found = reply.result
    agreed = found.get("protocolVersion")
    if isinstance(agreed, str) and agreed != talk.revision.name:
        features.problems.append(f"initialize agreed to {agreed!r}")
        features.declined = await agrees_to(talk, agreed)
        return
    # who names no version may well speak it: the case about that answer finds it, and no other
    features.revision = talk.revision.name
    features.capabilities = _object(found.get("capabilities"))
    features.server_info = _object(found.get("serverInfo"))
    await link.accepted(await link.notify("notifications/initialized"))
    features.answers_notifications = True  # or else what has no id is the answer to a request
    try:
        await _lists(link, features)
        await _plainest(link, features)
    except Ended:
        features.answers_notifications = False
        raise
    nameless = [*link.retorts, *(each for each in link.inbox if each.about_nothing)]
    features.answers_notifications = bool(nameless)


async def _plainest(link: Link, features: Features) -> None:
    """Find a plain request that is served, as cases need one: of the legacy era it is ping."""
    others = [method for method in features.lists if method not in features.unlisted]
    if others and not await _works(link, "ping", features):
        features.least = others[0]


async def agrees_to(talk: ServerTalk, version: Any) -> bool:
    """Return True if a server that has offered a version agrees to it, on another connection."""
    link = await talk.connect()
    reply = await link.request("initialize", {**link.opening(), "protocolVersion": version})
    message = reply.message
    if message is None or message.kind is not Kind.RESULT:
        return False
    return bool(message.result.get("protocolVersion") == version)


async def _metadata(talk: ServerTalk, features: Features) -> None:
    link = await talk.connect()
    reply = await _asked(link, "server/discover", features)
    versions: Any = []
    if reply is None:
        features.declined = False
    elif reply.good:
        found = reply.result
        versions = found.get("supportedVersions")
        features.capabilities = _object(found.get("capabilities"))
        features.server_info = _object(found.get("serverInfo"))
    else:
        _refused(reply, features)
    if isinstance(versions, list) and talk.revision.name in versions:
        features.revision = talk.revision.name
    else:
        if reply is not None and reply.good:
            features.problems.append(f"server/discover names the versions {versions!r}")
            features.declined = isinstance(versions, list)
        link = link if link.gone is None else await talk.connect()
        await _served(link, features)
    if features.revision:
        await _lists(link, features)


async def _served(link: Link, features: Features) -> None:
    """Find out if requests of the modern era are served, whatever server/discover says."""
    sent = {offer: await link.send(f"{offer}/list") for offer in OFFERS}
    patience = link.talk.timing.answer
    for offer, each in sent.items():
        try:
            reply = await link.reply(each, patience)
        except Broken as error:
            features.problems.append(error.detail)
            features.unlisted.add(each.method)
            continue
        patience = 0.0 if reply.silent else patience
        message = reply.message
        if message is not None and message.kind is Kind.RESULT and "resultType" in message.result:
            features.problems.append(f"but {offer}/list is served")
            features.revision, features.declined = link.revision.name, False
            features.capabilities.setdefault(offer, {})
            features.least = f"{offer}/list"


async def _asked(link: Link, method: str, features: Features, params: Any = UNSET) -> Reply | None:
    """Make a request; what comes and is no valid message is a problem of the server, and None."""
    try:
        return await link.request(method, params)
    except Broken as error:
        features.problems.append(error.detail)
        return None


async def _works(link: Link, method: str, features: Features) -> bool:
    reply = await _asked(link, method, features)
    if reply is None or reply.message is None:
        return False
    return reply.message.kind is Kind.RESULT


def _refused(reply: Reply, features: Features) -> None:
    """Keep what came instead of a result."""
    features.problems.append(f"{reply.sent.method} got {reply}")
    features.declined = reply.refused or reply.silent
    features.guarded = reply.status == UNAUTHORIZED
    message = reply.message
    # a method that is not there is answered with 404 in the modern era
    if message is None or message.kind is not Kind.ERROR or message.code != METHOD_NOT_FOUND:
        features.status = reply.status if reply.refused else None
    if reply.status in REDIRECTIONS:
        features.status = reply.status
        features.location = reply.header("location") or ""


async def _lists(link: Link, features: Features) -> None:
    if features.declares("tools"):
        for entry in await _list(link, "tools/list", "tools", features):
            schema = _object(entry.get("inputSchema"))
            features.tools[str(entry.get("name"))] = Tool(
                name=str(entry.get("name")),
                input_schema=schema,
                output_schema=entry.get("outputSchema"),
                annotations=_object(entry.get("annotations")),
                listed=entry,
            )
    if features.declares("resources"):
        features.resources = await _list(link, "resources/list", "resources", features)
        features.templates = await _list(link, TEMPLATES, "resourceTemplates", features)
    if features.declares("prompts"):
        features.prompts = await _list(link, "prompts/list", "prompts", features)


async def _list(link: Link, method: str, member: str, features: Features) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    seen: list[Any] = []
    params: dict[str, Any] = {}
    for _ in range(PAGES):
        reply = await _asked(link, method, features, params)
        if reply is None:
            features.unlisted.add(method)
            break
        if reply.silent:
            raise Inconclusive(f"{method} got {reply}")  # what else is listed, it is not asked for
        if method == TEMPLATES and is_unknown(reply.message):
            features.unknown.add(method)
            break
        if not reply.good:
            features.problems.append(f"{method} got {reply}")
            features.unlisted.add(method)
            if reply.status == UNAUTHORIZED and not link.talk.credentials:
                features.shut.add(method)
            break
        entries = reply.result.get(member)
        if isinstance(entries, list):
            found += [entry for entry in entries if isinstance(entry, dict)]
        cursor = reply.result.get("nextCursor")
        if cursor is None or cursor in seen:
            break
        seen.append(cursor)
        params = {"cursor": cursor}
    return found


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
