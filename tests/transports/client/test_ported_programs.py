"""Programs in the manner of the official SDK and of fastmcp: they run with new imports alone.

What is imported in the place of what is the table on the page about coming from there.
"""

import ast
import re
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

pytest.importorskip("pydantic", reason="pydantic is not installed")

from mcpcore import Callbacks, Server, connect
from mcpcore.spec.types.lifecycle import LoggingMessageParams
from mcpcore.spec.types.prompts import PromptReference, ResourceTemplateReference
from tests.clock import PATIENCE
from tests.transports.server.test_context_eras import ERAS

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/how-to/from-the-official-sdk.md").read_text()


def table() -> dict[str, str]:
    """Full names there, and the names here that take their places."""
    section = PAGE.partition("## New imports")[2].partition("\n## ")[0]
    found: dict[str, str] = {}
    for row in re.findall(r"^\| `.*\|$", section, re.MULTILINE):
        there, here = row.strip("| ").split(" | ")
        found |= dict.fromkeys(re.findall(r"`([^`]+)`", there), here.strip("`"))
    return found


NAMES = table()


def ported(source: str) -> str:
    """The program with new imports, and nothing else."""
    lines = source.splitlines()
    for node in ast.parse(source).body:
        if not isinstance(node, ast.ImportFrom) or not node.module:
            continue
        if node.module.partition(".")[0] not in ("mcp", "fastmcp"):
            continue
        new = []
        for alias in node.names:
            name = f"{node.module}.{alias.name}"
            here = NAMES.get(name) or NAMES[f"{node.module}.*"].replace("*", alias.name)
            module, _, there = here.rpartition(".")
            new.append(f"from {module} import {there} as {alias.asname or alias.name}")
        assert node.end_lineno is not None
        for number in range(node.lineno - 1, node.end_lineno):
            lines[number] = ""
        lines[node.lineno - 1] = "; ".join(new)
    return "\n".join(lines) + "\n"


def served(source: str) -> Server:
    """The server of a program."""
    names: dict[str, Any] = {"__name__": "ported"}
    exec(compile(ported(source), "ported.py", "exec"), names)
    server = names["mcp"]
    assert isinstance(server, Server)
    return server


OBSERVATORY = '''
import math
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Annotated, Any, Literal, TypedDict

from mcp.server import MCPServer
from mcp.server.mcpserver import Image
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import CallToolResult, Icon, ToolAnnotations
from pydantic import BaseModel, Field

DOME = Icon(src="https://example.com/dome.png", mime_type="image/png", sizes=["48x48"])
mcp = MCPServer("Observatory", instructions="Looks at the sky.", icons=[DOME])


class Orbit(BaseModel):
    radius: float = Field(gt=0, description="In AU.")


class Planet(BaseModel):
    """A planet."""

    name: str = Field(min_length=1)
    orbit: Orbit
    seen: datetime | None = None


class Sky(TypedDict):
    clouds: float
    moon: str


@dataclass
class Night:
    begins: datetime
    hours: float


class Telescope:
    name: str
    mirror: float
    owner: str | None = None

    def __init__(self, name: str, mirror: float):
        self.name = name
        self.mirror = mirror


PLANETS: dict[str, Planet] = {}


@mcp.tool()
def add_planet(planet: Planet) -> str:
    """Add a planet to the catalogue."""
    PLANETS[planet.name] = planet
    return f"{planet.name} goes round at {planet.orbit.radius} AU"


@mcp.tool(
    title="Find planets",
    annotations=ToolAnnotations(read_only_hint=True),
    icons=[DOME],
    meta={"example.com/group": "catalogue"},
)
def find(
    words: Annotated[str, Field(description="What the name holds.")],
    limit: Annotated[int, Field(ge=1, le=5, description="How many at most.")] = 3,
    order: Literal["name", "distance"] | None = None,
) -> list[Planet]:
    """Find planets by name."""
    return [planet for name, planet in sorted(PLANETS.items()) if words in name][:limit]


@mcp.tool()
def sky(
    place: str = Field(description="Where to look from."),
    hour: int = Field(default=22, ge=0, le=23),
) -> Sky:
    return Sky(clouds=hour / 100, moon=f"over {place}")


@mcp.tool(name="night", description="The next night.")
async def next_night(month: int = 1) -> Night:
    """Not shown."""
    return Night(begins=datetime(2026, month, 1, 18, tzinfo=timezone.utc), hours=math.pi)


@mcp.tool()
def telescope(name: str) -> Telescope:
    return Telescope(name, 1.5)


@mcp.tool()
def temperatures(places: list[str]) -> dict[str, float]:
    return {place: len(place) / 2 for place in places}


@mcp.tool()
def loose(name: str) -> dict[str, Any]:
    return {"name": name, "moons": [1, 2]}


@mcp.tool()
def brightness(name: str) -> float:
    return -1.5


@mcp.tool(structured_output=False)
def report(name: str) -> list[str]:
    return [f"{name} is visible"]


@mcp.tool()
def checked(radius: float) -> Annotated[CallToolResult, Orbit]:
    return CallToolResult(content=[], structured_content={"radius": radius})


@mcp.tool()
def parsed(text: str) -> Planet:
    return {"name": text, "orbit": {"radius": 1}}


@mcp.tool()
def picture() -> Image:
    return Image(data=b"...", format="png")


@mcp.tool()
def lost(name: str) -> str:
    raise ToolError(f"There is no {name}.")


if __name__ == "__main__":
    mcp.run()
'''


@pytest.mark.parametrize("revision", ERAS)
async def test_tools(revision: str) -> None:
    server = served(OBSERVATORY)
    with anyio.fail_after(PATIENCE):
        async with connect(server, revision=revision) as client:
            tools = {tool.name: tool for tool in await client.tools()}

            async def call(tool: str, **arguments: Any) -> Any:
                return await client.call_tool(tool, arguments)

            earth = {"name": "Earth", "orbit": {"radius": 1}}
            assert (await call("add_planet", planet=earth)).text == "Earth goes round at 1.0 AU"
            wrong = await call("add_planet", planet={"name": "", "orbit": {"radius": -1}})
            assert wrong.is_error
            assert "arguments.planet.orbit.radius: Input should be greater" in wrong.text
            wrapped = revision == ERAS[0]

            async def data(tool: str, **arguments: Any) -> Any:
                content = (await call(tool, **arguments)).structured_content
                in_object = isinstance(content, dict) and content.keys() == {"result"}
                assert not in_object or wrapped
                return content["result"] if in_object else content

            found = await data("find", words="E")
            assert found == [{**earth, "orbit": {"radius": 1.0}, "seen": None}]
            assert (
                "result" in (tools["find"].output_schema or {}).get("properties", {})
            ) is wrapped
            assert (await call("find", words="E", limit=6)).is_error
            assert await data("sky", place="Rome") == {"clouds": 0.22, "moon": "over Rome"}
            assert (await data("night"))["begins"] == "2026-01-01T18:00:00Z"
            assert await data("telescope", name="T") == {"name": "T", "mirror": 1.5, "owner": None}
            assert await data("temperatures", places=["Rome"]) == {"Rome": 2.0}
            assert await data("loose", name="x") == {"name": "x", "moons": [1, 2]}
            assert await data("brightness", name="x") == -1.5
            assert (await call("report", name="x")).text == '["x is visible"]'
            assert await data("checked", radius=2) == {"radius": 2}
            assert (await call("checked", radius=-2)).is_error
            assert (await data("parsed", text="x"))["orbit"] == {"radius": 1.0}
            [picture] = (await call("picture")).content
            assert (picture.type, picture.mime_type) == ("image", "image/png")
            lost = await call("lost", name="moon")
            assert (lost.is_error, lost.text) == (True, "There is no moon.")
    find = tools["find"]
    assert (find.title, find.description) == ("Find planets", "Find planets by name.")
    assert find.annotations
    assert find.annotations.read_only_hint is True
    assert find.meta == {"example.com/group": "catalogue"}
    assert find.input_schema["properties"]["limit"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 5,
        "description": "How many at most.",
        "default": 3,
    }
    assert find.input_schema["required"] == ["words"]
    assert tools["sky"].input_schema["required"] == ["place"]
    assert tools["night"].description == "The next night."
    assert not tools["report"].output_schema
    assert set(tools["checked"].output_schema or {}) >= {"properties", "required"}
    assert server.instructions == "Looks at the sky."


LIBRARY = '''
from mcp.server.fastmcp import FastMCP
from mcp.server.fastmcp.prompts.base import AssistantMessage, Message, UserMessage
from mcp.types import (
    Completion,
    CompletionArgument,
    CompletionContext,
    EmbeddedResource,
    PromptReference,
    ResourceTemplateReference,
    TextResourceContents,
)
from pydantic import Field

mcp = FastMCP("Library")
SHELVES = {"poetry": ["sappho", "rumi"], "plays": ["lear"]}


@mcp.resource("library://shelves")
def shelves() -> list[str]:
    """Every shelf."""
    return sorted(SHELVES)


@mcp.resource("library://shelves/{shelf}/{book}", title="A book", mime_type="text/markdown")
def book(shelf: str, book: str) -> str:
    return f"# {book}" if book in SHELVES[shelf] else "# nothing"


@mcp.resource("library://numbers/{number}")
async def numbered(number: int) -> dict[str, int]:
    return {"next": number + 1}


@mcp.resource("library://cover", mime_type="image/gif")
def cover() -> bytes:
    return b"GIF8"


@mcp.prompt()
def review(code: str) -> str:
    """Review some code."""
    return f"Please review {code}"


@mcp.prompt(title="Talk")
def talk(topic: str, tone: str = Field(default="kind", description="How.")) -> list[Message]:
    guide = TextResourceContents(uri="library://guide", mime_type="text/markdown", text="# Guide")
    return [
        UserMessage(EmbeddedResource(resource=guide)),
        UserMessage(f"Talk about {topic}"),
        AssistantMessage(f"I shall be {tone}."),
    ]


@mcp.prompt("plain")
def in_dictionaries(topic: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": topic}, {"role": "assistant", "content": "Yes?"}]


@mcp.completion()
async def complete(
    ref: PromptReference | ResourceTemplateReference,
    argument: CompletionArgument,
    context: CompletionContext | None,
) -> Completion | None:
    if isinstance(ref, PromptReference) and argument.name == "tone":
        tones = ["kind", "keen", "rude"]
        return Completion(values=[tone for tone in tones if tone.startswith(argument.value)])
    if isinstance(ref, ResourceTemplateReference) and argument.name == "book":
        if context is None or context.arguments is None:
            return None
        return Completion(values=SHELVES[context.arguments["shelf"]], has_more=False)
    return None
'''


@pytest.mark.parametrize("revision", ERAS)
async def test_resources_prompts_and_completions(revision: str) -> None:
    with anyio.fail_after(PATIENCE):
        async with connect(served(LIBRARY), revision=revision) as client:

            async def read(uri: str) -> Any:
                [contents] = (await client.read_resource(uri)).contents
                return contents

            assert (await read("library://shelves")).text == '["plays","poetry"]'
            poem = await read("library://shelves/poetry/rumi")
            assert (poem.text, poem.mime_type) == ("# rumi", "text/markdown")
            assert (await read("library://numbers/4")).text == '{"next":5}'
            cover = await read("library://cover")
            assert (cover.blob, cover.mime_type) == ("R0lGOA==", "image/gif")

            async def get(name: str, **arguments: str) -> list[tuple[str, Any]]:
                found = (await client.get_prompt(name, arguments)).messages
                return [
                    (each.role, getattr(each.content, "text", each.content.type)) for each in found
                ]

            assert await get("review", code="x") == [("user", "Please review x")]
            assert await get("talk", topic="tea") == [
                ("user", "resource"),
                ("user", "Talk about tea"),
                ("assistant", "I shall be kind."),
            ]
            assert await get("plain", topic="x") == [("user", "x"), ("assistant", "Yes?")]
            [told] = [prompt for prompt in await client.prompts() if prompt.name == "talk"]
            assert told.arguments
            assert [(each.name, bool(each.required)) for each in told.arguments] == [
                ("topic", True),
                ("tone", False),
            ]
            assert told.arguments[1].description == "How."
            talk = PromptReference(name="talk")
            assert (await client.complete(talk, "tone", "k")).completion.values == ["kind", "keen"]
            assert (await client.complete(talk, "topic", "k")).completion.values == []
            shelf = ResourceTemplateReference(uri="library://shelves/{shelf}/{book}")
            assert (await client.complete(shelf, "book", "")).completion.values == []
            known = {"shelf": "plays"}
            found = await client.complete(shelf, "book", "", known=known)
            assert found.completion.values == ["lear"]


BAKERY = '''
from mcp import McpError
from mcp.server.fastmcp import Context, FastMCP
from pydantic import BaseModel, Field

mcp = FastMCP(name="Bakery")


class Choice(BaseModel):
    agreed: bool = Field(description="Another day?")
    day: str = Field(default="Monday", description="Which one.")


@mcp.tool()
async def bake(loaves: int, ctx: Context, kind: str = "rye") -> str:
    """Bake bread."""
    await ctx.info(f"Baking {kind}")
    for loaf in range(loaves):
        await ctx.report_progress(progress=loaf + 1, total=loaves, message=f"loaf {loaf + 1}")
        await ctx.debug("one more")
    await ctx.warning("hot")
    await ctx.error("burnt")
    return f"{loaves} {kind}"


@mcp.tool()
async def order(day: str, bakery: Context) -> str:
    """Order bread; asks for another day on Sundays."""
    if day != "Sunday":
        return f"for {day}"
    result = await bakery.elicit(message="Closed on Sunday. Another day?", schema=Choice)
    if result.action == "accept" and result.data:
        return await order(result.data.day, bakery) if result.data.agreed else "no bread"
    return f"no bread ({result.action})"


@mcp.tool()
async def pay(ctx: Context) -> str:
    result = await ctx.elicit_url(
        message="Pay, please.", url="https://pay.example.com/1", elicitation_id="1"
    )
    return "paid" if result.action == "accept" else "not paid"


@mcp.tool()
def which(ctx: Context) -> str:
    return f"request {ctx.request_id}"


@mcp.resource("bakery://bread/{kind}")
async def bread(kind: str, ctx: Context) -> str:
    await ctx.info("looking")
    return f"{kind} of request {ctx.request_id}"
'''


@pytest.mark.parametrize("revision", ERAS)
async def test_contexts(revision: str) -> None:
    heard: list[Any] = []

    def hear(message: LoggingMessageParams) -> None:
        heard.append(f"{message.level}: {message.data}")

    answers: list[dict[str, Any] | None]
    answers = [{"agreed": True, "day": "Friday"}, {"agreed": False}, None]
    callbacks = Callbacks(
        elicitation=lambda form: answers.pop(0),
        elicitation_url=lambda params: None,
        log=hear,
    )
    with anyio.fail_after(PATIENCE):
        async with connect(served(BAKERY), revision=revision, callbacks=callbacks) as client:
            await client.set_log_level("info")
            reports: list[Any] = []
            result = await client.call_tool(
                "bake", {"loaves": 2}, progress=lambda *report: reports.append(report)
            )
            assert result.text == "2 rye"
            assert reports == [(1, 2, "loaf 1"), (2, 2, "loaf 2")]
            assert heard == ["info: Baking rye", "warning: hot", "error: burnt"]
            asked = [(await client.call_tool("order", {"day": "Sunday"})).text for _ in range(3)]
            assert asked == ["for Friday", "no bread", "no bread (decline)"]
            assert (await client.call_tool("pay")).text == "not paid"
            assert (await client.call_tool("which")).text.startswith("request ")
            [contents] = (await client.read_resource("bakery://bread/rye")).contents
            assert str(contents.text).startswith("rye of request ")


ARCHIVE = """
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from mcp.server import MCPServer
from mcp.server.mcpserver import Context


@dataclass
class Archive:
    papers: list[str] = field(default_factory=list)
    is_open: bool = True


archive = Archive()


@asynccontextmanager
async def lifespan(server: MCPServer) -> AsyncIterator[Archive]:
    archive.papers.append(f"the catalogue of {type(server).__name__}")
    try:
        yield archive
    finally:
        archive.is_open = False


mcp = MCPServer("Archive", lifespan=lifespan)


@mcp.tool()
def count(ctx: Context[Archive]) -> int:
    return len(ctx.request_context.lifespan_context.papers)


@mcp.tool()
async def add(paper: str, ctx: Context) -> str:
    held = ctx.request_context.lifespan_context
    held.papers.append(paper)
    return f"{held.papers} {held.is_open} {ctx.request_context.request_id == ctx.request_id}"


@mcp.resource("archive://papers/{number}")
def paper(number: int, ctx: Context) -> str:
    return ctx.lifespan_context.papers[number]
"""


@pytest.mark.parametrize("revision", ERAS)
async def test_a_lifespan(revision: str) -> None:
    server = served(ARCHIVE)
    with anyio.fail_after(PATIENCE):
        async with connect(server, revision=revision) as client:
            assert (await client.call_tool("count")).text == "1"
            said = (await client.call_tool("add", {"paper": "a"})).text
            assert said == "['the catalogue of Server', 'a'] True True"
            [contents] = (await client.read_resource("archive://papers/1")).contents
            assert contents.text == "a"


GARDEN = """
from typing import Annotated

from fastmcp import Context, FastMCP
from fastmcp.exceptions import ResourceError, ToolError
from fastmcp.utilities.types import Image
from mcp.types import CallToolResult
from pydantic import BaseModel, Field

mcp = FastMCP(name="Garden")


class Bed(BaseModel):
    plants: list[str] = []


@mcp.tool
def water(
    bed: Annotated[str, "Which bed."],
    litres: Annotated[float, Field(gt=0, le=20)] = 1,
) -> dict:
    return {"bed": bed, "litres": litres}


@mcp.tool(name="plant", description="Plant something.", meta={"version": "1"})
def put_in(bed: Bed, what: str = Field(description="A seed.")) -> Bed:
    return Bed(plants=[*bed.plants, what])


@mcp.tool(annotations={"title": "Dig", "readOnlyHint": False, "destructiveHint": True})
async def dig(ctx: Context, depth: int = Field(10, ge=0)) -> CallToolResult:
    await ctx.info("digging")
    if depth > 50:
        raise ToolError("Too deep.")
    return CallToolResult(content=[], structured_content={"depth": depth}, meta={"ms": 3})


@mcp.tool
def look(many: bool = False) -> list[Image]:
    return [Image(data=b"GIF8", format="gif"), Image(data=b"...", format="jpeg")]


@mcp.resource("garden://{name}")
def plant(name: str) -> dict:
    if name == "weed":
        raise ResourceError("There are no weeds.")
    return {"name": name}


@mcp.resource("tree://{path*}")
def tree(path: str) -> str:
    return f"tree {path}"


@mcp.resource("rows://{owner}/{path*}/row.txt{?length,shade}")
def row(owner: str, path: str, length: int = 3, shade: bool = False) -> dict:
    return {"owner": owner, "path": path, "length": length, "shade": shade}


def by_two_names(name: str | None = None, number: int | None = None) -> dict:
    return {"name": name, "number": number}


mcp.resource("who://name/{name}")(by_two_names)
mcp.resource("who://number/{number}")(by_two_names)


@mcp.prompt(name="advise", description="Ask for advice.", meta={"version": "1"})
def ask_advice(plant: str = Field(description="Which."), season: str = "spring") -> str:
    return f"How do I grow {plant} in {season}?"
"""


@pytest.mark.parametrize("revision", ERAS)
async def test_fastmcp(revision: str) -> None:
    with anyio.fail_after(PATIENCE):
        async with connect(served(GARDEN), revision=revision) as client:
            tools = {tool.name: tool for tool in await client.tools()}
            bed = tools["water"].input_schema["properties"]["bed"]
            assert bed == {"type": "string", "description": "Which bed."}
            assert (tools["plant"].description, tools["plant"].meta) == (
                "Plant something.",
                {"version": "1"},
            )
            assert tools["dig"].annotations
            assert tools["dig"].annotations.destructive_hint is True

            async def data(name: str, **arguments: Any) -> Any:
                return (await client.call_tool(name, arguments)).structured_content

            assert await data("water", bed="a") == {"bed": "a", "litres": 1}
            assert await data("plant", bed={"plants": ["a"]}, what="b") == {"plants": ["a", "b"]}
            assert await data("dig") == {"depth": 10}
            assert (await client.call_tool("dig", {"depth": 60})).text == "Too deep."
            pictures = (await client.call_tool("look")).content
            assert [block.type for block in pictures] == ["image", "image"]

            async def read(uri: str) -> Any:
                return (await client.read_resource(uri)).contents[0].text

            assert await read("garden://rose") == '{"name":"rose"}'
            with pytest.raises(Exception, match="There are no weeds"):
                await read("garden://weed")
            assert await read("tree://oak/branch/leaf.md") == "tree oak/branch/leaf.md"
            assert await read("rows://me/a/b/row.txt?length=5&shade=true") == (
                '{"owner":"me","path":"a/b","length":5,"shade":true}'
            )
            assert await read("who://name/ada") == '{"name":"ada","number":null}'
            assert await read("who://number/3") == '{"name":null,"number":3}'
            got = await client.get_prompt("advise", {"plant": "figs"})
            assert getattr(got.messages[0].content, "text", "") == "How do I grow figs in spring?"


async def test_the_last_line_is_the_other_edit(tmp_path: Path) -> None:
    source = ported(OBSERVATORY).replace(
        "    mcp.run()\n", "    from mcpcore_transports.serve.serve import run\n\n    run(mcp)\n"
    )
    program = tmp_path / "observatory.py"
    program.write_text(source)
    with anyio.fail_after(PATIENCE):
        async with connect([sys.executable, str(program)]) as client:
            result = await client.call_tool("brightness", {"name": "x"})
    assert result.text == "-1.5"


def test_the_table_names_what_there_is() -> None:
    assert len(NAMES) > 20
    for here in NAMES.values():
        module, _, name = here.rpartition(".")
        if name != "*":
            exec(f"from {module} import {name}")
