"""What a server offers: tools, resources, prompts, completion."""

import json
from base64 import b64decode

import anyio

from conformance.interop.drivers.caller import Caller, Object, Refused, expect, text_of

INVALID_PARAMS = -32602
METHOD_NOT_FOUND = -32601
WORDS = 20_000


async def refusal(caller: Caller, method: str, params: Object) -> Refused:
    """Send what must be refused; return the refusal."""
    try:
        result = await caller.request(method, params)
    except Refused as refused:
        return refused
    expect(False, result)
    raise AssertionError


# Tools


async def tools_list(caller: Caller) -> None:
    """List the tools, with what describes them."""
    tools = {tool["name"]: tool for tool in await caller.all_pages("tools/list", "tools")}
    weather = tools["test_structured_output"]
    expect(weather.get("description"), weather)
    schema = weather["inputSchema"]
    expect(schema["type"] == "object" and "city" in schema["properties"], schema)


async def titles(caller: Caller) -> None:
    """What is declared for people: titles, icons, annotations."""
    tools = {tool["name"]: tool for tool in await caller.all_pages("tools/list", "tools")}
    weather = tools["test_structured_output"]
    expect(weather.get("title") == "Weather", weather)
    expect(weather["annotations"]["readOnlyHint"] is True, weather)
    expect(weather["icons"][0]["src"] == "https://example.com/weather.png", weather)
    listed = {each["uri"]: each for each in await caller.all_pages("resources/list", "resources")}
    text = listed["test://static-text"]
    expect(text.get("title") == "A text" and text["annotations"]["priority"] == 0.5, text)
    prompts = {each["name"]: each for each in await caller.all_pages("prompts/list", "prompts")}
    prompt = prompts["test_prompt_with_arguments"]
    expect(prompt.get("title") == "Two arguments", prompt)


async def tools_call(caller: Caller) -> None:
    """Call a tool."""
    text = await caller.say("test_simple_text")
    expect("simple text" in text, text)


async def long_texts(caller: Caller) -> None:
    """Send and get back much text of many scripts, with every character that is hard to frame."""
    name = 'naïve 漢字 🐝 \u2028\u2029\x85 "\\\n\r\n data: {}\n\n' * (WORDS // 40)
    text = await caller.say("greet", {"name": name})
    expect(text == f"Hello, {name}!", f"{len(text)} characters, {text[:60]!r}")


async def parallel_calls(caller: Caller) -> None:
    """Call a tool many times at once; each answer must reach its caller."""

    async def one(number: int) -> None:
        text = await caller.say("greet", {"name": str(number)})
        expect(text == f"Hello, {number}!", text)

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(one, number)


async def pagination(caller: Caller) -> None:
    """Walk through pages; a cursor that the server never gave is refused."""
    names: list[str] = []
    cursor, pages = None, 0
    while True:
        page = await caller.page("prompts/list", cursor)
        pages += 1
        names += [prompt["name"] for prompt in page["prompts"]]
        cursor = page.get("nextCursor")
        if cursor is None:
            break
    expect(pages > 1, f"{pages} page of prompts")
    expect(len(names) == len(set(names)) and "test_simple_prompt" in names, names)
    try:
        page = await caller.page("prompts/list", "no cursor of yours")
    except Refused as refused:
        expect(refused.code == INVALID_PARAMS, refused)
    else:
        expect(False, page)


async def structured_output(caller: Caller) -> None:
    """Call a tool whose result is an object that follows its output schema."""
    tools = {tool["name"]: tool for tool in await caller.all_pages("tools/list", "tools")}
    schema = tools["test_structured_output"].get("outputSchema")
    expect(schema and "temperature" in schema["properties"], tools["test_structured_output"])
    result = await caller.call("test_structured_output", {"city": "Zürich"})
    content = result.get("structuredContent")
    expect(content and content["city"] == "Zürich", result)
    expect(json.loads(text_of(result)) == content, result["content"])


async def tool_error(caller: Caller) -> None:
    """Call a tool that fails: a result, with the reason in it."""
    result = await caller.call("test_error_handling")
    expect(result.get("isError") is True, result)
    expect("intentionally" in result["content"][0]["text"], result)


async def invalid_arguments(caller: Caller) -> None:
    """Call a tool without its argument: an error, in the result or of the protocol."""
    try:
        result = await caller.call("test_structured_output", {})
    except Refused as refused:
        expect(refused.code == INVALID_PARAMS, refused)
        expect(not caller.facts["tool_errors_in_result"], refused)
    else:
        expect(result.get("isError") is True, result)


async def unknown_tool(caller: Caller) -> None:
    """Call a tool that does not exist: an error of the protocol."""
    refused = await refusal(caller, "tools/call", {"name": "no_such_tool", "arguments": {}})
    expect(refused.code == INVALID_PARAMS, refused)


async def unknown_prompt(caller: Caller) -> None:
    """Get a prompt that does not exist."""
    refused = await refusal(caller, "prompts/get", {"name": "no_such_prompt"})
    expect(refused.code == INVALID_PARAMS, refused)


async def unknown_method(caller: Caller) -> None:
    """Send a request that nobody knows."""
    refused = await refusal(caller, "interop/unknown", {})
    expect(refused.code == METHOD_NOT_FOUND, refused)


async def _block(caller: Caller, tool: str, kind: str) -> Object:
    content = (await caller.call(tool))["content"]
    (block,) = [block for block in content if block["type"] == kind]
    return dict(block)


async def image_content(caller: Caller) -> None:
    """Get an image."""
    block = await _block(caller, "test_image_content", "image")
    expect(block["mimeType"] == "image/png", block)
    expect(b64decode(block["data"], validate=True).startswith(b"\x89PNG"), block)


async def audio_content(caller: Caller) -> None:
    """Get a sound."""
    block = await _block(caller, "test_audio_content", "audio")
    expect(block["mimeType"] in ("audio/wav", "audio/x-wav"), block)
    expect(b64decode(block["data"], validate=True).startswith(b"RIFF"), block)


async def resource_link(caller: Caller) -> None:
    """Get a link, and follow it."""
    block = await _block(caller, "test_resource_link", "resource_link")
    read = await caller.read(block["uri"])
    expect(read["contents"][0]["text"], read)


async def embedded_resource(caller: Caller) -> None:
    """Get a resource inside of a result."""
    block = await _block(caller, "test_embedded_resource", "resource")
    resource = block["resource"]
    expect(resource["uri"] == "test://embedded-resource" and resource["text"], block)


# Resources


async def resources_list(caller: Caller) -> None:
    """List the resources."""
    listed = {each["uri"]: each for each in await caller.all_pages("resources/list", "resources")}
    binary = listed["test://static-binary"]
    expect(binary.get("mimeType") == "image/png" and binary["name"], binary)


async def read_text(caller: Caller) -> None:
    """Read a text."""
    (contents,) = (await caller.read("test://static-text"))["contents"]
    expect(contents["uri"] == "test://static-text", contents)
    expect("static text" in contents["text"], contents)


async def read_blob(caller: Caller) -> None:
    """Read bytes."""
    (contents,) = (await caller.read("test://static-binary"))["contents"]
    expect(contents.get("mimeType") == "image/png", contents)
    expect(b64decode(contents["blob"], validate=True).startswith(b"\x89PNG"), contents)


async def templates(caller: Caller) -> None:
    """List the templates, and read through one."""
    listed = await caller.all_pages("resources/templates/list", "resourceTemplates")
    expect(any(each["uriTemplate"] == "test://template/{id}/data" for each in listed), listed)
    (contents,) = (await caller.read("test://template/123/data"))["contents"]
    expect("123" in contents["text"], contents)


async def resource_not_found(caller: Caller) -> None:
    """Read what does not exist."""
    try:
        result = await caller.read("test://no-such-resource")
    except Refused as refused:
        expect(refused.code == caller.facts["resource_not_found"], refused)
    else:
        expect(False, result)


# Prompts and completion


async def prompts_list(caller: Caller) -> None:
    """List the prompts with their arguments."""
    listed = {each["name"]: each for each in await caller.all_pages("prompts/list", "prompts")}
    arguments = listed["test_prompt_with_arguments"]["arguments"]
    expect([each["name"] for each in arguments] == ["arg1", "arg2"], arguments)
    expect(all(each.get("required") for each in arguments), arguments)


async def prompts_get(caller: Caller) -> None:
    """Get a prompt, filled in."""
    got = await caller.prompt("test_prompt_with_arguments", {"arg1": "eins", "arg2": "二"})
    message = got["messages"][0]
    expect(message["role"] == "user", message)
    expect("eins" in message["content"]["text"] and "二" in message["content"]["text"], message)


async def prompt_content(caller: Caller) -> None:
    """Get prompts with an image and with a resource in them."""
    first = (await caller.prompt("test_prompt_with_image"))["messages"][0]["content"]
    expect(first["type"] == "image" and first["data"], first)
    uri = "test://embedded"
    got = await caller.prompt("test_prompt_with_embedded_resource", {"resourceUri": uri})
    first = got["messages"][0]["content"]
    expect(first["type"] == "resource" and first["resource"]["uri"] == uri, first)


_PROMPT = {"type": "ref/prompt", "name": "test_prompt_with_arguments"}
_TEMPLATE = {"type": "ref/resource", "uri": "test://template/{id}/data"}


async def completion(caller: Caller) -> None:
    """Complete an argument of a prompt and a variable of a template."""
    result = await caller.complete(_PROMPT, "arg1", "par")
    expect(result["completion"]["values"] == ["paris", "park", "party"], result)
    result = await caller.complete(_TEMPLATE, "id", "12")
    expect("123" in result["completion"]["values"], result)


async def completion_context(caller: Caller) -> None:
    """Complete an argument that depends on another one."""
    result = await caller.complete(_PROMPT, "arg2", "", {"arg1": "paris"})
    expect(result["completion"]["values"] == ["paris-1", "paris-2"], result)


async def cache_hints(caller: Caller) -> None:
    """Lists and resources say how long they may be kept."""
    for result in (await caller.page("tools/list"), await caller.read("test://static-text")):
        expect(isinstance(result.get("ttlMs"), int) and result["ttlMs"] >= 0, result)
        expect(result.get("cacheScope") in ("public", "private"), result)


async def header_mirroring(caller: Caller) -> None:
    """Call a tool with an argument that is mirrored into a header, and without it."""
    await caller.all_pages("tools/list", "tools")
    for region in ("eu-west", "Zürich", " padded ", "=?base64?eA==?="):
        text = await caller.say("test_x_mcp_header", {"region": region})
        expect(text == f"region: {region}", text)
