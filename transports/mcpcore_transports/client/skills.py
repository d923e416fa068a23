"""Skills of a server, loaded: verified against their entries before anything of them is used.

Source: the specification of the extension ``io.modelcontextprotocol/skills``, "Integrity and
Verification".
"""

from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from posixpath import normpath
from typing import TYPE_CHECKING
from urllib.parse import quote

from mcpcore.errors import SkillRefused
from mcpcore.spec import skills, types
from mcpcore.spec.skills import DYNAMIC, SKILL_FILE

if TYPE_CHECKING:  # they import this
    from mcpcore_transports.client.client import Client
    from mcpcore_transports.client.servers import Servers

_READ = "resources/read"


class LoadedSkill:
    """Skill whose ``SKILL.md`` was read and verified, made by :meth:`Client.load_skill`.

    :meth:`Servers.load_skill` makes it, too.  It reads files by its entry, as long as it is kept,
    whatever the server lists by then.
    """

    def __init__(
        self, client: "Client | Servers", entry: types.Skill, files: dict[str, types.SkillResource]
    ) -> None:
        self._client = client
        self._files = files
        self._root = skills.root_of(entry.uri)
        self._left = skills.MAX_BYTES
        self.entry = entry
        """Entry that the files are held against."""
        self.text = ""
        """Contents of ``SKILL.md``, front matter included: untrusted text of the server."""

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of the files, relative and without ``..``; empty if the skill is dynamic."""
        return tuple(self._files)

    async def read(self, path: str) -> bytes:
        """Return the bytes of a file, by its path below the skill's directory or by its URI.

        Raises SkillRefused for a file that the entry does not list, or that is not as it says.
        """
        entry = self.entry
        with _refusing(self._client, _READ):
            uri = path if "://" in path else f"{self._root}/{quote(normpath(path))}"
            inside = skills.path_in(self._root, uri)
            listed = self._files.get(inside)
            if listed is None and entry.resources != DYNAMIC:
                raise ValueError(f"{inside!r} is no file of {entry.uri} by its entry")
        uri = uri if listed is None else listed.uri
        result = await self._client.read_resource(uri)
        with _refusing(self._client, _READ):
            data = _content(uri, result)
            if listed is None:
                self._left -= len(data)
                skills.check_limits(0, skills.MAX_BYTES - self._left)
            else:
                skills.check_content(listed, data)
            if inside == SKILL_FILE:
                skills.check_same(entry.frontmatter, data)
        return data


async def load(
    client: "Client | Servers", skill: types.Skill | str, *, dynamic: bool
) -> LoadedSkill:
    """Implement :meth:`Client.load_skill`."""
    entry = (await client.get_skill(skill)).skill if isinstance(skill, str) else skill
    with _refusing(client, "skills/get"):
        if skill not in (entry, entry.uri):
            raise ValueError(f"{skill} was asked for, and the entry is that of {entry.uri}")
        files = skills.check_entry(entry)
        if entry.resources == DYNAMIC and not dynamic:
            raise ValueError(f"{entry.uri} is dynamic: nothing of it can be verified")
    loaded = LoadedSkill(client, entry, files)
    loaded.text = (await loaded.read(SKILL_FILE)).decode()
    return loaded


def _content(uri: str, result: types.ReadResourceResult) -> bytes:
    """Return the bytes of the one file that was read."""
    if len(result.contents) != 1 or result.contents[0].uri != uri:
        raise ValueError(f"{uri} was read, and the result is not this file alone")
    found = result.contents[0]
    return b64decode(found.blob or "", validate=True) if found.text is None else found.text.encode()


@contextmanager
def _refusing(client: "Client | Servers", method: str) -> Iterator[None]:
    """Turn a failed check into the exception for it; what is cached may be the reason."""
    try:
        yield
    except ValueError as error:
        client.forget_skills()
        raise SkillRefused(method, str(error)) from None
