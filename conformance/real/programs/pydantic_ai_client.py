"""The client of pydantic-ai: a toolset, and an agent whose model is a function."""

import json
import sys
from contextlib import asynccontextmanager
from pathlib import Path

from fastmcp.client.elicitation import ElicitResult
from fastmcp.client.transports import StdioTransport
from fastmcp.exceptions import ToolError
from pydantic_ai import Agent
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import FunctionModel

sys.path[0] = str(Path(__file__).resolve().parents[3])  # the cells are shared by all libraries

from conformance.real.cells import main
from conformance.real.programs.few import Few, content_of, every


def plain(model):
    """Return the wire form."""
    return model.model_dump(by_alias=True, mode="json", exclude_none=True)


class PydanticCaller(Few):
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
        return {"serverInfo": plain(self.toolset.server_info)}

    async def page(self, method, cursor=None):
        """See Caller."""
        toolset = self.toolset
        fetch = {
            "tools/list": (toolset.list_tools, "tools", "name", "name"),
            "resources/list": (toolset.list_resources, "resources", "uri", "uri"),
            "resources/templates/list": (
                toolset.list_resource_templates,
                "resourceTemplates",
                "uriTemplate",
                "uri_template",
            ),
            "prompts/list": (toolset.list_prompts, "prompts", "name", "name"),
        }
        return await every(*fetch[method])

    async def call(self, name, arguments=None, *, progress=None, timeout=None):
        """See Caller."""
        try:
            value = await self.toolset.direct_call_tool(name, arguments or {})
        except ToolError as error:
            return content_of(str(error), failed=True)
        return content_of(value if isinstance(value, str) else json.dumps(value, default=str))

    async def read(self, uri):
        """See Caller."""
        return {"contents": [{"text": await self.toolset.read_resource(uri)}]}

    async def prompt(self, name, arguments=None):
        """See Caller."""
        filled = await self.toolset.get_prompt(name, arguments)
        return {"messages": [{"content": str(each.content)} for each in filled.messages]}

    async def agent(self, tool, arguments):
        """See Few."""

        def model(messages, info):
            last = messages[-1].parts[-1]
            if last.part_kind == "tool-return":
                return ModelResponse(parts=[TextPart(f"it said: {last.content}")])
            return ModelResponse(parts=[ToolCallPart(tool, arguments)])

        agent = Agent(FunctionModel(model), toolsets=[self.toolset])
        return (await agent.run("Call it.")).output


@asynccontextmanager
async def open_pydantic(target, *, revision):
    """Connect."""
    caller = PydanticCaller()
    where = StdioTransport(target[0], target[1:]) if isinstance(target, list) else target
    caller.toolset = MCPToolset(
        where,
        tool_error_behavior="error",
        elicitation_handler=caller.elicit,
        sampling_handler=caller.sample,
        roots=caller.roots,
    )
    async with caller.toolset:
        yield caller


if __name__ == "__main__":
    sys.exit(main(open_pydantic))
