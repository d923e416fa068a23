"""The client of langchain-mcp-adapters: servers' tools as LangChain's."""

import sys
from contextlib import asynccontextmanager
from pathlib import Path

from langchain_mcp_adapters.callbacks import Callbacks
from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_mcp_adapters.prompts import load_mcp_prompt
from langchain_mcp_adapters.resources import load_mcp_resources
from langchain_mcp_adapters.tools import load_mcp_tools
from mcp.types import ElicitResult

sys.path[0] = str(Path(__file__).resolve().parents[3])  # the cells are shared by all libraries

from conformance.real.cells import main
from conformance.real.programs.few import Few, content_of

SERVER = "ours"


def text_of(content):
    """The text of a message."""
    if isinstance(content, str):
        return content
    return " ".join(block["text"] for block in content if block["type"] == "text")


class LangchainCaller(Few):
    """One session, and the tools that were loaded with it."""

    async def elicit(self, mcp_context, params, context):
        """Answer as a user would."""
        asked = params.model_dump(by_alias=True, mode="json", exclude_none=True)
        return ElicitResult.model_validate(self.answers.elicit(asked))

    async def opening(self):
        """See Caller."""
        info = (await self.client.get_server_info())[SERVER]
        return {"serverInfo": {"name": info.serverInfo.name}}

    async def page(self, method, cursor=None):
        """See Caller."""
        if method == "tools/list":
            return {"tools": [{"name": name} for name in self.tools]}
        if method == "resources/list":
            blobs = await load_mcp_resources(self.opened)
            return {"resources": [{"uri": str(blob.metadata["uri"])} for blob in blobs]}
        return await super().page(method, cursor)

    async def call(self, name, arguments=None, *, progress=None, timeout=None):
        """See Caller."""
        call = {"type": "tool_call", "id": "call-1", "name": name, "args": arguments or {}}
        message = await self.tools[name].ainvoke(call)
        return content_of(text_of(message.content), failed=message.status == "error")

    async def read(self, uri):
        """See Caller."""
        blobs = await load_mcp_resources(self.opened, uris=[uri])
        return {"contents": [{"text": blob.as_string()} for blob in blobs]}

    async def prompt(self, name, arguments=None):
        """See Caller."""
        messages = await load_mcp_prompt(self.opened, name, arguments=arguments)
        return {"messages": [{"content": each.content} for each in messages]}


@asynccontextmanager
async def open_langchain(target, *, revision):
    """Connect."""
    caller = LangchainCaller()
    if isinstance(target, list):
        where = {"transport": "stdio", "command": target[0], "args": target[1:]}
    else:
        where = {"transport": "sse" if "/sse" in target else "streamable_http", "url": target}
    callbacks = Callbacks(on_elicitation=caller.elicit)
    caller.client = MultiServerMCPClient({SERVER: where}, callbacks=callbacks)
    async with caller.client.session(SERVER) as session:
        caller.opened = session
        loaded = await load_mcp_tools(session, callbacks=callbacks, server_name=SERVER)
        caller.tools = {tool.name: tool for tool in loaded}
        yield caller


if __name__ == "__main__":
    sys.exit(main(open_langchain))
