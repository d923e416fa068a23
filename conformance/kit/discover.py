"""Looking at a server before its cases are played: what it speaks, declares and offers."""

from typing import Any

from conformance.kit.features import Features, Tool
from conformance.kit.link import Link
from conformance.kit.log import Log
from conformance.kit.messages import Kind
from conformance.kit.talk import ServerTalk, Timing
from conformance.kit.verdicts import Ended, Inconclusive
from conformance.kit.wire import Stage
from mcpcore.spec.revisions import Revision

PAGES = 100
"""Pages of a list that are read at most."""
LAST = 300
"""Characters of standard error that are shown of a server that cannot be looked at."""


async def discover(stage: Stage, revision: Revision, timing: Timing) -> Features:
    """Find out what a server offers in a revision; what goes wrong is listed, not raised."""
    features = Features(revision="")
    talk = ServerTalk(stage, revision, features, log=Log(stage.now), timing=timing, seed=0)
    try:
        link = await talk.connect()
        await (_handshake if revision.handshake else _metadata)(link, features)
        features.silent = not (link.heard or link.heads or link.events or link.gone)
        if features.revision == revision.name:
            await _lists(link, features)
    except Ended as error:
        features.problems.append(error.detail)
    finally:
        for each in talk.links:
            await each.wire.close()
    if features.problems:
        features.problems += [f"standard error: {last}" for last in map(_last, talk.links) if last]
    return features


def _last(link: Link) -> str:
    """The last lines that a program has written to its standard error."""
    stderr = getattr(link.wire, "stderr", None)  # of a ProcessWire
    lines = [] if stderr is None else stderr().decode("utf-8", "replace").split("\n")
    return " / ".join(line.strip() for line in lines if line.strip())[-LAST:]


async def _handshake(link: Link, features: Features) -> None:
    reply = await link.request("initialize", link.opening())
    if reply.message is None or reply.message.kind is not Kind.RESULT:
        features.problems.append(f"initialize got {reply}")
        return
    found = reply.result
    features.revision = str(found.get("protocolVersion"))
    features.capabilities = _object(found.get("capabilities"))
    features.server_info = _object(found.get("serverInfo"))
    await link.accepted(await link.notify("notifications/initialized"))


async def _metadata(link: Link, features: Features) -> None:
    reply = await link.request("server/discover")
    if reply.message is None or reply.message.kind is not Kind.RESULT:
        features.problems.append(f"server/discover got {reply}")
        return
    found = reply.result
    if link.revision.name in found.get("supportedVersions", []):
        features.revision = link.revision.name
    features.capabilities = _object(found.get("capabilities"))
    features.server_info = _object(found.get("serverInfo"))


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
        features.templates = await _list(
            link, "resources/templates/list", "resourceTemplates", features
        )
    if features.declares("prompts"):
        features.prompts = await _list(link, "prompts/list", "prompts", features)


async def _list(link: Link, method: str, member: str, features: Features) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    params: dict[str, Any] = {}
    for _ in range(PAGES):
        reply = await link.request(method, params)
        if reply.silent:
            raise Inconclusive(f"{method} got {reply}")  # what else is listed, it is not asked for
        if reply.message is None or reply.message.kind is not Kind.RESULT:
            features.problems.append(f"{method} got {reply}")
            break
        entries = reply.result.get(member)
        if isinstance(entries, list):
            found += [entry for entry in entries if isinstance(entry, dict)]
        cursor = reply.result.get("nextCursor")
        if cursor is None:
            break
        params = {"cursor": cursor}
    return found


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
