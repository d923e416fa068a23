"""File of pins: approved descriptions of servers, by name, as JSON.

::

    {"version": 1, "servers": {"weather": {"tools": {"forecast": {...}}}}}

What a server does not have is left out.
"""

import os
from pathlib import Path

import msgspec
from msgspec import Struct

from mcpcore.errors import BadConfig
from mcpcore.policy.differences import ServerDescription, describe_server
from mcpcore.spec.capabilities import SKILLS_EXTENSION, declares
from mcpcore_transports.client.client import Client
from mcpcore_transports.client.config import replace_file

_OWNERS = 0o600
_VERSION = 1
_MAX_SIZE = 32 * 2**20
"""Maximum bytes of a file of pins."""


class _PinsFile(Struct):
    version: int = _VERSION
    servers: dict[str, ServerDescription] = {}


def read_pins(path: str | os.PathLike[str]) -> dict[str, ServerDescription]:
    """Return the pins of a file by server, none if it does not exist.  Raises BadConfig."""
    file = Path(path)
    try:
        with file.open("rb") as opened:
            data = opened.read(_MAX_SIZE + 1)
        if len(data) > _MAX_SIZE:
            raise BadConfig(f"{file}: larger than {_MAX_SIZE} bytes")
        found = msgspec.json.decode(data, type=_PinsFile)
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadConfig(f"{file}: cannot be read as pins: {error}") from None
    if found.version != _VERSION:
        raise BadConfig(f"{file}: version: expected {_VERSION}, not {found.version}")
    return found.servers


def write_pins(path: str | os.PathLike[str], server: str, description: ServerDescription) -> None:
    """Put the pins of one server into a file, which is replaced atomically, with mode 0600.

    Raises BadConfig.
    """
    file = Path(path).resolve()  # a symbolic link stays one
    whole = _PinsFile(servers={**read_pins(file), server: description})
    data = msgspec.json.format(msgspec.json.encode(whole, order="sorted"), indent=2)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(file, data + b"\n", mode=_OWNERS)
    except OSError as error:
        raise BadConfig(f"{path}: cannot be written: {error}") from None


async def read_description(client: Client) -> ServerDescription:
    """Read the lists of a server, and return its description.

    Raises PeerError and CallFailed.
    """
    capabilities = client.capabilities
    kinds = ("tools", "prompts", "resources", f"extensions.{SKILLS_EXTENSION}")
    tools, prompts, resources, skills = (declares(capabilities, kind) for kind in kinds)
    return describe_server(
        instructions=client.instructions,
        tools=await client.tools() if tools else (),
        prompts=await client.prompts() if prompts else (),
        resource_templates=await client.resource_templates() if resources else (),
        skills=await client.skills() if skills else (),
    )
