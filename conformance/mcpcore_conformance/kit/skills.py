"""Skills as a client finds them: entries, files, directories."""

import base64
import binascii
import re
from hashlib import sha256
from typing import Annotated, Any

from mcpcore_conformance.kit.asking import entries
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.shapes import SKILLS
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.usable import members, objects
from mcpcore_conformance.kit.verdicts import Broken, check, need

FILE = "/SKILL.md"
MOST = 5
"""Skills that are looked into at most, and files of each that are read."""
_HEAD = re.compile(r"\ufeff?---\r?\n(.*?\r?\n)---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_FIELD = re.compile(r"""^["']?([A-Za-z_][\w.-]*)["']?[ \t]*:""", re.MULTILINE)


def declared(talk: ServerTalk, setting: str = "") -> dict[str, Any]:
    """Return the settings of the extension; the case does not apply without it, or without one."""
    extensions = members(talk.features.capabilities.get("extensions"))
    need(SKILLS in extensions, f"the server does not declare extensions.{SKILLS}")
    settings = members(extensions[SKILLS])
    if setting and settings.get(setting) is not True:
        talk.skip(f"the server does not declare {setting} of the extension")
    return settings


async def opened(talk: ServerTalk, setting: str = "") -> tuple[Link, list[dict[str, Any]]]:
    """Open a connection; return it with all listed skills, of which there has to be one."""
    declared(talk, setting)
    link = await talk.open()
    return link, await entries(link, "skills/list", "skills") or talk.skip("no skill is listed")


SkillsLink = Annotated[Link, opened]
Skills = Annotated[list[dict[str, Any]], opened]


def address(skill: dict[str, Any]) -> str:
    """The URI of an entry; that it is one is for the case about shapes to say."""
    uri = skill.get("uri")
    if not isinstance(uri, str):
        raise Broken(f"the uri of a skill is {uri!r:.80}", flaw="skills/list")
    return uri


def root(skill: dict[str, Any]) -> str:
    """The URI of a skill's directory."""
    return address(skill).removesuffix(FILE)


def files(skill: dict[str, Any]) -> list[dict[str, Any]]:
    """The files of an entry; none of a dynamic one."""
    return [each for each in objects(skill.get("resources")) if isinstance(each.get("uri"), str)]


async def contents(link: Link, uri: str) -> tuple[dict[str, Any], bytes]:
    """Read a file; return what stands around its contents, and its bytes."""
    found = objects((await link.ask("resources/read", {"uri": uri})).get("contents"))
    own = [each for each in found if each.get("uri") == uri]
    check(len(own) == 1, f"{uri} was read, and {len(own)} of {len(found)} contents have that URI")
    if isinstance(own[0].get("text"), str):
        return own[0], own[0]["text"].encode("utf-8", "surrogatepass")
    try:
        return own[0], base64.b64decode(str(own[0].get("blob")), validate=True)
    except binascii.Error:
        raise Broken(f"the blob of {uri} is no base64") from None


def digest(data: bytes) -> str:
    """The digest of bytes as entries have it."""
    return f"sha256:{sha256(data).hexdigest()}"


def front_matter(text: str) -> tuple[str, set[str]]:
    """Return the front matter of a file and the names of its fields; raises Broken without one.

    Only as much of YAML is read as no reader can take for something else.
    """
    found = _HEAD.match(text)
    if found is None:
        raise Broken("SKILL.md does not begin with front matter between lines of three hyphens")
    return found[1], set(_FIELD.findall(found[1]))


def letters(text: str) -> str:
    """Return what is left of a text however it is quoted and folded."""
    return "".join(each for each in text if each.isalnum())
