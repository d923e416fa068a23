"""The client of fastmcp."""

import sys
from contextlib import asynccontextmanager
from pathlib import Path

from fastmcp import Client
from fastmcp.client.elicitation import ElicitResult
from fastmcp.client.transports import StdioTransport
from pydantic import TypeAdapter

sys.path[0] = str(Path(__file__).resolve().parents[3])  # the cells are shared by all libraries

from conformance.real.cells import main
from conformance.real.programs.few import Few


def plain(model):
    """Return the wire form."""
    return model.model_dump(by_alias=True, mode="json", exclude_none=True)


class FastmcpCaller(Few):
    """One connection."""

    async def elicit(self, message, kind, params, context):
        """Answer as a user would."""
        return ElicitResult(**self.answers.elicit(plain(params)))

    async def sample(self, messages, params, context):
        """Answer as a model would."""
        return self.answers.sample(plain(params))["content"]["text"]

    async def roots(self, context):
        """Name the roots."""
        return [each["uri"] for each in self.answers.list_roots()["roots"]]

    async def opening(self):
        """See Caller."""
        client = self.client
        return {
            "serverInfo": plain(client.server_info),
            "protocolVersion": client.protocol_version,
        }

    async def page(self, method, cursor=None):
        """See Caller."""
        client = self.client
        fetch = {
            "tools/list": client.list_tools_mcp,
            "resources/list": client.list_resources_mcp,
            "resources/templates/list": client.list_resource_templates_mcp,
            "prompts/list": client.list_prompts_mcp,
        }
        return plain(await fetch[method](cursor=cursor))

    async def call(self, name, arguments=None, *, progress=None, timeout=None):
        """See Caller."""
        return plain(await self.client.call_tool_mcp(name, arguments or {}))

    async def read(self, uri):
        """See Caller."""
        return plain(await self.client.read_resource_mcp(uri))

    async def prompt(self, name, arguments=None):
        """See Caller."""
        return plain(await self.client.get_prompt_mcp(name, arguments))

    async def complete(self, ref, argument, value, known=None):
        """See Caller."""
        import mcp_types

        ref = TypeAdapter(mcp_types.PromptReference).validate_python(ref)
        return plain(await self.client.complete_mcp(ref, {"name": argument, "value": value}))


@asynccontextmanager
async def open_fastmcp(target, *, revision):
    """Connect."""
    caller = FastmcpCaller()
    where = StdioTransport(target[0], target[1:]) if isinstance(target, list) else target
    async with Client(
        where,
        elicitation_handler=caller.elicit,
        sampling_handler=caller.sample,
        roots=caller.roots,
    ) as client:
        caller.client = client
        yield caller


if __name__ == "__main__":
    sys.exit(main(open_fastmcp))
