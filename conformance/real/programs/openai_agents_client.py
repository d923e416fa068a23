"""The client of openai-agents: a server's tools for an agent, whose model is a function."""

import json
import sys
from contextlib import asynccontextmanager
from pathlib import Path

from agents import Agent, ModelResponse, Runner, Usage, set_tracing_disabled
from agents.mcp import MCPServerSse, MCPServerStdio, MCPServerStreamableHttp
from agents.models.interface import Model
from openai.types.responses import (
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseOutputText,
)

sys.path[0] = str(Path(__file__).resolve().parents[3])  # the cells are shared by all libraries

from conformance.real.cells import PATIENCE, main
from conformance.real.programs.few import Few

set_tracing_disabled(True)


def plain(model):
    """Return the wire form."""
    return model.model_dump(by_alias=True, mode="json", exclude_none=True)


class Script(Model):
    """A model that calls one tool, and then repeats what that said."""

    def __init__(self, tool, arguments):
        self.tool = tool
        self.arguments = arguments

    async def get_response(self, system_instructions, input, *arguments, **more):
        """Call the tool, or say what it said."""
        last = input[-1] if isinstance(input, list) else {}
        if last.get("type") == "function_call_output":
            words = f"it said: {json.dumps(last['output'])}"
            said = ResponseOutputText(type="output_text", text=words, annotations=[])
            answer = ResponseOutputMessage(
                id="message-1", type="message", role="assistant", status="completed", content=[said]
            )
        else:
            answer = ResponseFunctionToolCall(
                type="function_call",
                call_id="call-1",
                name=self.tool,
                arguments=json.dumps(self.arguments),
            )
        return ModelResponse(output=[answer], usage=Usage(), response_id=None)

    def stream_response(self, *arguments, **more):
        """Is not asked for."""
        raise NotImplementedError


class OpenaiCaller(Few):
    """One server of an agent."""

    async def opening(self):
        """See Caller; who the server is is told nowhere."""
        return {}

    async def page(self, method, cursor=None):
        """See Caller."""
        server = self.server
        if method == "tools/list":
            return {"tools": [plain(tool) for tool in await server.list_tools()]}
        if method == "prompts/list":
            return plain(await server.list_prompts())
        if method == "resources/list":
            return plain(await server.list_resources(cursor))
        return plain(await server.list_resource_templates(cursor))

    async def call(self, name, arguments=None, *, progress=None, timeout=None):
        """See Caller."""
        return plain(await self.server.call_tool(name, arguments))

    async def read(self, uri):
        """See Caller."""
        return plain(await self.server.read_resource(uri))

    async def prompt(self, name, arguments=None):
        """See Caller."""
        return plain(await self.server.get_prompt(name, arguments))

    async def agent(self, tool, arguments):
        """See Few."""
        agent = Agent(name="one", model=Script(tool, arguments), mcp_servers=[self.server])
        return (await Runner.run(agent, "Call it.")).final_output


@asynccontextmanager
async def open_openai(target, *, revision):
    """Connect."""
    if isinstance(target, list):
        made = MCPServerStdio, {"command": target[0], "args": target[1:]}
    elif "/sse" in target:
        made = MCPServerSse, {"url": target}
    else:
        made = MCPServerStreamableHttp, {"url": target}
    kind, params = made
    caller = OpenaiCaller()
    async with kind(params, client_session_timeout_seconds=PATIENCE) as server:
        caller.server = server
        yield caller


if __name__ == "__main__":
    sys.exit(main(open_openai))
