"""Skills as the extension ``io.modelcontextprotocol/skills`` has them: names, URIs, limits, checks.

All checks raise ValueError naming the file or the field.  Source: the specification of the
extension, stable version; the Agent Skills specification for names and front matter.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

from mcpcore.spec.frontmatter import read_frontmatter, same_value
from mcpcore.spec.types.skills import Skill, SkillResource

SKILL_FILE = "SKILL.md"
"""Name of the file that makes a directory a skill."""
DYNAMIC = "dynamic"
"""In the place of a skill's files: they are generated, and have no digests."""
MAX_FILES = 512
"""Maximum files of one skill, ``SKILL.md`` included."""
MAX_BYTES = 16 * 1024 * 1024
"""Maximum bytes of all files of one skill."""

_NAME = re.compile(r"(?!.*--)[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_DESCRIPTION = 1024
_COMPATIBILITY = 500
_UNFIT = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff/\\]")
"""Characters that no name of a file may have, on any system; and halves of characters."""


def content_digest(data: bytes) -> str:
    """Return the digest of a file's bytes, as entries have it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def check_limits(files: int, size: int) -> None:
    """Check the number of a skill's files, and the sum of their bytes."""
    if files > MAX_FILES:
        raise ValueError(f"a skill may have {MAX_FILES} files, and this one has more")
    if size > MAX_BYTES:
        raise ValueError(f"the files of a skill may have {MAX_BYTES} bytes, and these have more")


def check_segments(path: str) -> None:
    """Check that a relative path, with ``/`` between its names, stays where it begins."""
    for name in path.split("/"):
        if name in ("", ".", "..") or _UNFIT.search(name):
            raise ValueError(f"{path[:200]!r} is no path to a file below a directory")


def uri_of(path: str) -> str:
    """Return the URI of a server's file, by its path from the first name on."""
    return f"skill://{quote(path)}"


def root_of(uri: str) -> str:
    """Return the URI of a skill's directory, without a slash at its end, from its ``SKILL.md``."""
    root, slash, file = uri.rpartition("/")
    scheme, separator, path = root.partition("://")
    if not (slash and scheme and separator) or file != SKILL_FILE:
        raise ValueError(f"{uri[:200]!r} is no URI of a {SKILL_FILE}")
    check_segments(unquote(path).removeprefix("/"))  # no authority, as in file:///a/SKILL.md
    return root


def path_in(root: str, uri: str) -> str:
    """Return the path of a file below the root of its skill, percent-decoded."""
    if not uri.startswith(f"{root}/"):
        raise ValueError(f"{uri[:200]!r} is outside of the skill, {root}")
    raw = uri[len(root) + 1 :]
    path = unquote(raw, errors="strict")
    if path.count("/") != raw.count("/") or "?" in raw or "#" in raw:
        raise ValueError(f"{uri[:200]!r} is no URI of a file in {root}")
    check_segments(path)
    return path


def check_name(frontmatter: Mapping[str, Any], directory: str) -> None:
    """Check the two fields that every skill has; ``directory`` is the name of its directory."""
    name = frontmatter.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        rule = "1 to 64 lowercase letters, digits and single hyphens between them"
        raise ValueError(f"name: expected {rule}, got {_shown(name)}")
    if name != directory:
        raise ValueError(f"name: {name!r} is not the name of the directory, {directory!r}")
    _check_text(frontmatter, "description", _DESCRIPTION)


def check_frontmatter(frontmatter: Mapping[str, Any], directory: str) -> None:
    """Check all fields that the Agent Skills specification has."""
    check_name(frontmatter, directory)
    for field, longest in (("compatibility", _COMPATIBILITY), ("license", None)):
        if field in frontmatter:
            _check_text(frontmatter, field, longest)
    tools = frontmatter.get("allowed-tools", "")
    if not isinstance(tools, str) and not (
        isinstance(tools, list) and all(isinstance(tool, str) for tool in tools)
    ):
        raise ValueError(f"allowed-tools: expected a string or strings, got {_shown(tools)}")
    metadata = frontmatter.get("metadata", {})
    if not isinstance(metadata, dict):
        raise ValueError(f"metadata: expected names with values, got {_shown(metadata)}")
    for key, value in metadata.items():
        if not isinstance(value, str):
            raise ValueError(f"metadata.{key}: expected a string, in quotes, got {_shown(value)}")


def check_entry(skill: Skill) -> dict[str, SkillResource]:
    """Check an entry of a server; return its files by path, empty if they are dynamic."""
    root = root_of(skill.uri)
    check_name(skill.frontmatter, root.rpartition("/")[2])
    if isinstance(skill.resources, str):
        return {}
    found: dict[str, SkillResource] = {}
    for each in skill.resources:
        path = path_in(root, each.uri)
        if path in found:
            raise ValueError(f"resources: {path!r} is listed twice")
        if not _DIGEST.fullmatch(each.digest):
            raise ValueError(f"resources: the digest of {path!r} is {_shown(each.digest)}")
        if each.size < 0:
            raise ValueError(f"resources: the size of {path!r} is {each.size}")
        found[path] = each
    if SKILL_FILE not in found:
        raise ValueError(f"resources: {SKILL_FILE} is missing")
    check_limits(len(found), sum(each.size for each in found.values()))
    return found


def check_content(listed: SkillResource, data: bytes) -> None:
    """Check the bytes of a file against its entry."""
    if len(data) != listed.size:
        raise ValueError(f"{listed.uri} has {len(data)} bytes, its entry says {listed.size}")
    if content_digest(data) != listed.digest:
        raise ValueError(f"{listed.uri} does not have the digest of its entry")


def check_same(frontmatter: Mapping[str, Any], data: bytes) -> None:
    """Check that a ``SKILL.md`` has the front matter of its entry, field by field."""
    found = read_frontmatter(data)
    for field in (*frontmatter, *found):
        absent = object()
        if not same_value(found.get(field, absent), frontmatter.get(field, absent)):
            raise ValueError(f"{field}: the entry and {SKILL_FILE} differ")


def _check_text(frontmatter: Mapping[str, Any], field: str, longest: int | None) -> None:
    text = frontmatter.get(field)
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{field}: expected text, got {_shown(text)}")
    if longest is not None and len(text) > longest:
        raise ValueError(f"{field}: {len(text)} characters, the limit is {longest}")


def _shown(value: Any) -> str:
    return "nothing" if value is None else f"{value!r:.80}"
