"""Cases of the extension io.modelcontextprotocol/skills: entries, their files, directories."""

import re
from typing import Any

from mcpcore_conformance.kit.asking import pages
from mcpcore_conformance.kit.lists import check_shape, check_unique
from mcpcore_conformance.kit.messages import INVALID_PARAMS
from mcpcore_conformance.kit.model import MODERN, Page
from mcpcore_conformance.kit.shapes import SKILLS
from mcpcore_conformance.kit.skills import (
    FILE,
    MOST,
    Skills,
    SkillsLink,
    address,
    contents,
    declared,
    digest,
    files,
    front_matter,
    letters,
    opened,
    root,
)
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.usable import members, objects, whole
from mcpcore_conformance.kit.verdicts import check, need

page = Page("extensions/skills")
case = page.server(MODERN)

NOBODY = f"skill://mcpcore-conformance-no-such-skill{FILE}"
DIRECTORY = "inode/directory"
MOST_FILES = 512
MOST_BYTES = 16 * 1024 * 1024
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_NAME = re.compile(r"(?!.*--)[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?")


@case.must(
    "capability-negotiation",
    "The capability resources, beside the extension with an object as its settings.",
)
async def with_resources(talk: ServerTalk) -> None:
    """A server with skills declares resources, and settings that are an object."""
    declared(talk)
    found = talk.features.capabilities
    check(isinstance(found.get("resources"), dict), "resources are not declared")
    settings = found["extensions"][SKILLS]
    check(isinstance(settings, dict), f"the settings are {settings!r:.80}")
    reads = settings.get("directoryRead", False)
    check(isinstance(reads, bool), f"directoryRead is {reads!r:.80}")


@case.must(
    "listing-skills/shape",
    "Pages of entries with uri, frontmatter and resources, with ttlMs and cacheScope.",
)
async def listed(talk: ServerTalk) -> None:
    """Every page of skills/list has its shape."""
    declared(talk)
    await check_shape(talk, "skills/list")
    for found in await pages(await talk.open(), "skills/list"):
        missing = [name for name in ("ttlMs", "cacheScope") if name not in found]
        check(not missing, f"skills/list has no {' and no '.join(missing)}")


@case.must("resource-mapping", "A URI that ends with the name in the front matter and /SKILL.md.")
async def name_in_uri(_: SkillsLink, skills: Skills) -> None:
    """The name of a skill is the last segment of its path, and keeps to the rules for names."""
    for skill in skills:
        uri, name = address(skill), members(skill.get("frontmatter")).get("name")
        check(uri.endswith(FILE), f"{uri!r:.200} does not end with {FILE}")
        check(root(skill).rpartition("/")[2] == name, f"{uri} has the name {name!r:.80}")
        check(_NAME.fullmatch(str(name)), f"{name!r:.80} is no name of a skill")


@case.must("resources", "SKILL.md and files below its directory, each once, with digest and size.")
async def complete(_: SkillsLink, skills: Skills) -> None:
    """The files of an entry are its SKILL.md and files below its directory, each once."""
    for skill in skills:
        uri, found = address(skill), files(skill)
        if skill.get("resources") == "dynamic":
            continue
        uris = [each["uri"] for each in found]
        check(uri in uris, f"{uri} is not among its own resources")
        check(len(set(uris)) == len(uris), f"{uri} lists a file twice")
        outside = [each for each in uris if not each.startswith(f"{root(skill)}/")]
        check(not outside, f"{uri} lists {outside[:1]}, which is outside of its directory")
        for each in found:
            good = _DIGEST.fullmatch(str(each.get("digest")))
            check(good, f"the digest of {each['uri']} is {each.get('digest')!r:.80}")


@case.must(
    "resources", "Each file of a skill that lies inside of another one among the files of both."
)
async def nested(_: SkillsLink, skills: Skills) -> None:
    """A skill lists the files of the skills that are nested in it."""
    inner = 0
    for outer in skills:
        own = {each["uri"] for each in files(outer)}
        for skill in skills:
            if own and skill is not outer and address(skill).startswith(f"{root(outer)}/"):
                inner += 1
                missing = {each["uri"] for each in files(skill)} - own
                check(not missing, f"{address(outer)} does not list {sorted(missing)[:1]}")
    need(inner, "no listed skill is nested in another one")


@case.must(
    "integrity-and-verification", "Bytes whose number and SHA-256 digest are those of the entry."
)
async def digest_and_size(link: SkillsLink, skills: Skills) -> None:
    """What is read is what the entry says, in each file."""
    for skill in skills[:MOST]:
        for each in files(skill)[:MOST]:
            _, data = await contents(link, each["uri"])
            said = each.get("size")
            check(len(data) == said, f"{each['uri']} has {len(data)} bytes, its entry says {said}")
            check(digest(data) == each.get("digest"), f"{each['uri']} has another digest")


@case.must(
    "frontmatter", "The fields of the file's front matter, with their values, and no others."
)
async def identical(link: SkillsLink, skills: Skills) -> None:
    """The front matter of an entry is that of its SKILL.md."""
    for skill in skills[:MOST]:
        _, data = await contents(link, address(skill))
        text, names = front_matter(data.decode(errors="replace"))
        said = members(skill.get("frontmatter"))
        different = sorted(names ^ said.keys())
        check(not different, f"only one of {address(skill)} and its entry has {different}")
        if "\\" in text:  # an escape may stand for any letter
            continue
        for name, value in said.items():
            there = not isinstance(value, str) or letters(value) in letters(text)
            check(there, f"{name} in the entry of {address(skill)} is not what the file says")


@case.should("limits", "No more than 512 files and 16 MiB in one skill.")
async def within(_: SkillsLink, skills: Skills) -> None:
    """Skills keep to the limits that every host supports."""
    for skill in skills:
        found = files(skill)
        size = sum(whole(each.get("size")) for each in found)
        check(len(found) <= MOST_FILES, f"{address(skill)} has {len(found)} files")
        check(size <= MOST_BYTES, f"{address(skill)} has {size} bytes")


@case.should("names", "No name twice.")
async def unique(_: SkillsLink, skills: Skills) -> None:
    """Names are unique in a listing."""
    names = [str(members(each.get("frontmatter")).get("name")) for each in skills]
    twice = sorted({name for name in names if names.count(name) > 1})
    check(not twice, f"several skills have the name {', '.join(twice[:5])}")


@case.must("listing-skills", "Each skill once, whole, on one page.")
async def once(talk: ServerTalk) -> None:
    """An entry is not split across pages."""
    declared(talk)
    await check_unique(talk, "skills", "uri")


@case.should(
    "resource-metadata/skill-file",
    "text/markdown, and in resources/list the name and description of the front matter.",
)
async def metadata(talk: ServerTalk, link: SkillsLink, skills: Skills) -> None:
    """The resource of a SKILL.md says what its front matter says."""
    resources = {each.get("uri"): each for each in talk.features.resources}
    for skill in skills[:MOST]:
        uri, said = address(skill), members(skill.get("frontmatter"))
        found, _ = await contents(link, uri)
        kind = found.get("mimeType")
        check(kind == "text/markdown", f"the media type of {uri} is {kind!r:.80}")
        for name in ("name", "description") if uri in resources else ():
            value = resources[uri].get(name)
            check(value == said.get(name), f"the {name} of the resource {uri} is {value!r:.80}")


@case.must("getting-a-skill", "The entry that skills/list has, without a cursor.")
async def same_entry(link: SkillsLink, skills: Skills) -> None:
    """skills/get gives the entry of a listed skill."""
    for skill in skills[:MOST]:
        found = await link.ask("skills/get", {"uri": address(skill)})
        check(found["skill"] == skill, f"the entry of {address(skill)} is another than its listed")
        check("nextCursor" not in found, "skills/get has a cursor")
        missing = [name for name in ("ttlMs", "cacheScope") if name not in found]
        check(not missing, f"skills/get has no {' and no '.join(missing)}")


@case.must("getting-a-skill", "The error -32602.")
async def unknown(talk: ServerTalk) -> None:
    """skills/get of what is no skill is an invalid parameter."""
    declared(talk)
    link = await talk.open()
    for uri in (NOBODY, "", "skill:"):
        (await link.request("skills/get", {"uri": uri})).failed_with(INVALID_PARAMS)


@case.must("error-handling", "The error -32602.")
async def unknown_file(link: SkillsLink, skills: Skills) -> None:
    """Reading a file that a skill does not have is an invalid parameter."""
    for path in ("mcpcore-conformance-no-such-file", "../SKILL.md", "%2e%2e/%2e%2e/etc/passwd"):
        uri = f"{root(skills[0])}/{path}"
        (await link.request("resources/read", {"uri": uri})).failed_with(INVALID_PARAMS)


async def _children(talk: ServerTalk, uri: str) -> dict[str, dict[str, Any]]:
    link = await talk.open()
    found: dict[str, dict[str, Any]] = {}
    params: dict[str, Any] = {"uri": uri}
    for _ in range(MOST_FILES):
        result = await link.ask("resources/directory/read", params)
        found |= {str(each.get("uri")): each for each in objects(result.get("resources"))}
        cursor = result.get("nextCursor")
        if not isinstance(cursor, str):
            break
        params["cursor"] = cursor
    return found


@case.must(
    "reading-directories",
    "Its files and its directories, the latter as inode/directory, and nothing below them.",
)
async def children(talk: ServerTalk) -> None:
    """A directory of a skill has its direct children, all of them."""
    _, skills = await opened(talk, "directoryRead")
    for skill in skills[:MOST]:
        below: dict[str, dict[str, bool]] = {}
        for each in files(skill):
            child, parts = root(skill), each["uri"].removeprefix(f"{root(skill)}/").split("/")
            for number, part in enumerate(parts, 1):
                parent, child = child, f"{child}/{part}"
                below.setdefault(parent, {})[child] = number < len(parts)
        for parent, wanted in [*below.items()][:MOST]:
            found = await _children(talk, parent)
            different = sorted(found.keys() ^ wanted.keys())
            check(not different, f"{parent} and the entry of its skill differ in {different[:3]}")
            for uri, is_directory in wanted.items():
                kind = found[uri].get("mimeType")
                check((kind == DIRECTORY) is is_directory, f"the media type of {uri} is {kind!r}")


@case.must("reading-directories", "The error -32602.")
async def no_directory(talk: ServerTalk) -> None:
    """What is no directory, or is not there, is an invalid parameter."""
    link, skills = await opened(talk, "directoryRead")
    for uri in (address(skills[0]), NOBODY, f"{root(skills[0])}/mcpcore-conformance-no-such"):
        reply = await link.request("resources/directory/read", {"uri": uri})
        reply.failed_with(INVALID_PARAMS)
