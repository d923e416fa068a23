"""Skills of a server: declared from files in memory, listed, found by URI, read by directory.

Source: the specification of the extension ``io.modelcontextprotocol/skills``, stable version.
"""

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Self, TypedDict, TypeVar
from urllib.parse import unquote

from msgspec import Raw, Struct
from msgspec.structs import replace

from mcpcore.errors import InvalidValue
from mcpcore.service import declarations
from mcpcore.service.handlers import Declaration, Handler, Prepared, Visible
from mcpcore.service.pagination import Collection as Listed
from mcpcore.service.reading import read, shorten
from mcpcore.spec import skills
from mcpcore.spec.decoding import decoder
from mcpcore.spec.errors import INVALID_PARAMS, McpError
from mcpcore.spec.frontmatter import read_frontmatter
from mcpcore.spec.members import known_members
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.resources import Resource
from mcpcore.spec.types.skills import (
    GetSkillParams,
    ReadDirectoryParams,
    ReadDirectoryResult,
    Skill,
    SkillResource,
)
from mcpcore.wire.jsontext import to_json

if TYPE_CHECKING:  # it imports this
    from mcpcore.service.server import Server

P = TypeVar("P", bound=Struct)

DIRECTORY = "inode/directory"
"""Media type of a directory."""
_TYPES = {
    **dict.fromkeys(("md", "markdown"), "text/markdown"),
    **{name: f"text/{name}" for name in ("css", "csv", "html")},
    **{name: f"image/{name}" for name in ("gif", "jpeg", "png", "webp")},
    **{name: f"application/{name}" for name in ("json", "pdf", "toml", "xml", "yaml", "zip")},
    "jpg": "image/jpeg",
    "js": "text/javascript",
    "py": "text/x-python",
    "svg": "image/svg+xml",
    "yml": "application/yaml",
}
"""Media types by the end of a file's name; others are plain text, or bytes."""


class SkillOptions(TypedDict, total=False):
    """Options of skills, and of the resources that are their files."""

    prefix: str
    """Path before those of the files in the URIs, such as ``acme/billing``; default: none."""
    replace: bool
    """True to replace skills and resources of the same URIs; otherwise that is an error."""
    visible: Visible
    """Function from a principal to True if the skills exist for it.  Default: for all."""
    scopes: Collection[str]
    """Scopes that a principal needs, all of them, to read the files; skills are listed without."""
    roles: Collection[str]
    """Roles of which a principal needs one to read the files."""


def _nothing() -> None:
    """Stand for a handler: entries are answered as they are."""


class SkillEntry(Declaration):
    """Skill in the list of a server."""

    declared: Skill

    def __init__(self, declared: Skill, visible: Visible | None) -> None:
        super().__init__(Handler(_nothing), visible)
        self.declared = declared

    @property
    def files(self) -> list[SkillResource]:
        """Files; a server's own are never dynamic."""
        listed = self.declared.resources
        return [] if isinstance(listed, str) else listed

    def renamed(self, key: str, uri: Callable[[str], str]) -> Self:
        """Return a copy whose files have other URIs."""
        made = super().renamed(key, uri)
        files = [replace(each, uri=uri(each.uri)) for each in self.files]
        made.declared = replace(self.declared, uri=key, resources=files)
        return made


def declare(server: "Server", files: Mapping[str, bytes], options: SkillOptions) -> None:
    """Implement :meth:`Server.add_skills`."""
    declarations.check_options(options, SkillOptions)
    if not isinstance(files, Mapping):
        got = type(files).__name__  # type: ignore[unreachable]
        raise TypeError(f"expected files by path, got {got}; read_skills(directory) returns them")
    prefix = options.get("prefix", "")
    placed = {f"{prefix}/{path}" if prefix else path: data for path, data in files.items()}
    for path, data in placed.items():
        skills.check_segments(path)
        if not isinstance(data, bytes):
            raise TypeError(f"{path}: expected bytes, got {type(data).__name__}")
    roots = {path.rpartition("/")[0] for path in placed if path.endswith(f"/{skills.SKILL_FILE}")}
    members: dict[str, list[str]] = {root: [] for root in sorted(roots)}
    for path in sorted(placed, key=lambda path: (not path.endswith(skills.SKILL_FILE), path)):
        parts = path.split("/")
        above = roots.intersection("/".join(parts[:count]) for count in range(1, len(parts)))
        if not above and "/" in path.removeprefix(f"{prefix}/"):
            raise ValueError(f"{path}: no directory above it has a {skills.SKILL_FILE}")
        for root in above:
            members[root].append(path)
    if not members:
        raise ValueError(f"there is no skill: no directory has a {skills.SKILL_FILE}")
    entries = [_entry(root, {path: placed[path] for path in own}) for root, own in members.items()]
    ours = {skills.uri_of(path): path for own in members.values() for path in own}
    if long := [path for uri, path in ours.items() if len(uri) > server.max_uri]:
        raise ValueError(f"{long[0]}: its URI is longer than {server.max_uri}")
    replacing, resources = options.get("replace", False), server.collections["resources"]
    if not replacing and (taken := [uri for uri in ours if uri in resources]):
        raise ValueError(f"{taken[0]} is declared already; pass replace=True to mean it")
    shared: dict[str, Any] = {
        key: value for key, value in options.items() if key in ("visible", "scopes", "roles")
    }
    declarations.requirement(shared)  # type: ignore[arg-type]
    for entry in entries:
        if entry.uri in server.collections["skills"]:
            remove(server, entry.uri)
    heads = {entry.uri: entry.frontmatter for entry in entries}
    for uri, path in ours.items():
        head = heads.get(uri, {"name": path.rpartition("/")[2]})
        described = {key: head[key] for key in ("name", "description") if key in head}
        content, size = _content(placed[path]), len(placed[path])
        media = _media_type(path, content)
        rest: Any = {**shared, **described, "mime_type": media, "size": size}
        server.add_resource(uri, content, replace=replacing, **rest)
    for entry in entries:
        server.take("skills", entry.uri, SkillEntry(entry, options.get("visible")), replace=False)


def remove(server: "Server", uri: str) -> None:
    """Implement :meth:`Server.remove_skill`."""
    listed, resources = server.collections["skills"], server.collections["resources"]
    if uri not in listed:
        raise KeyError(f"there is no skill {uri!r}")
    gone = {each.uri for each in listed.by_key()[uri].files}
    listed.remove(uri)
    for other in listed:
        gone.difference_update(each.uri for each in other.files)
    for each in gone.intersection(resources.by_key()):
        server.remove_resource(each)


def entry_result(
    listed: Listed[SkillEntry], params: Raw | bytes, revision: Revision, principal: str | None
) -> Prepared:
    """Answer ``skills/get``.  Raises McpError."""
    uri = _read(GetSkillParams, params).uri
    entry = listed.get(uri, principal)
    if entry is None:
        raise McpError(INVALID_PARAMS, shorten(f"No skill is served at {uri}"))
    body = b'{"skill":' + entry.encode(revision) + b"," + listed.hints(principal) + b"}"
    return Prepared(revision, result=Raw(body), bare=True)


def directory_result(
    collections: Mapping[str, Listed[Any]],
    params: Raw | bytes,
    revision: Revision,
    principal: str | None,
) -> Prepared:
    """Answer ``resources/directory/read`` for the directories of skills.  Raises McpError."""
    asked = _read(ReadDirectoryParams, params)
    if asked.cursor is not None:
        raise McpError(INVALID_PARAMS, "cursor: directories have one page")
    base = f"{asked.uri}/"
    below = (
        each.uri
        for entry in collections["skills"].seen_by(principal)
        for each in entry.files
        if "://" in asked.uri and each.uri.startswith(base)
    )
    children: dict[str, Resource] = {}
    for uri in below:
        name, slash, _ = uri[len(base) :].partition("/")
        found = collections["resources"].get(uri, principal)
        if slash:
            child = base + name
            children[child] = Resource(uri=child, name=unquote(name), mime_type=DIRECTORY)
        elif found is not None:
            children[uri] = known_members(found.declared, revision)
    if not children:
        raise McpError(INVALID_PARAMS, shorten(f"{asked.uri} is no directory resource"))
    result = ReadDirectoryResult(resources=list(children.values()))
    return Prepared(revision, result=Raw(to_json(result)), bare=True)


def _entry(root: str, files: Mapping[str, bytes]) -> Skill:
    """Make the entry of a skill.  Raises ValueError naming the file."""
    file = f"{root}/{skills.SKILL_FILE}"
    with declarations.naming(file):
        frontmatter = read_frontmatter(files[file])
        skills.check_frontmatter(frontmatter, root.rpartition("/")[2])
        skills.check_limits(len(files), sum(map(len, files.values())))
    resources = [
        SkillResource(uri=skills.uri_of(path), digest=skills.content_digest(data), size=len(data))
        for path, data in files.items()
    ]
    return Skill(uri=skills.uri_of(file), frontmatter=frontmatter, resources=resources)


def _content(data: bytes) -> str | bytes:
    """Return text for what is UTF-8 without control characters of binary files, else the bytes."""
    try:
        return data if b"\0" in data else data.decode()
    except UnicodeDecodeError:
        return data


def _media_type(path: str, content: str | bytes) -> str:
    other = "text/plain" if isinstance(content, str) else "application/octet-stream"
    return _TYPES.get(path.rpartition("/")[2].rpartition(".")[2].lower(), other)


def _read(type: type[P], params: Raw | bytes) -> P:
    try:
        return read(decoder(type), params, "params")
    except InvalidValue as error:
        raise McpError(INVALID_PARAMS, str(error)) from None
