"""Features that a server has shown of itself: the kit uses those that it finds."""

from typing import Any

from msgspec import Struct, field, structs

from mcpcore_conformance.kit.json_schema import schema_problem, value_problem
from mcpcore_conformance.kit.pace import Offer, Pace
from mcpcore_conformance.kit.shown import CALL, PROMPT, READ, Shown
from mcpcore_conformance.kit.usable import items, members, objects, texts, whole
from mcpcore_conformance.kit.watched import Seen

FIRST_CHOICE = ("test_simple_text", "echo", "add", "greet")
"""Names of tools that are taken for harmless wherever they are found."""
FIXTURE = ("test_structured_output", "test_x_mcp_header", "test_x_mcp_header_kinds")
"""Names of the official suite's fixture that stand for a kind of tool: harmless, too."""
KNOWN = (*FIRST_CHOICE, *FIXTURE)
"""Names of tools that take the arguments that are made up for them; of others nobody knows."""
OFFERS = ("tools", "resources", "prompts")
"""Kinds of objects that are declared and listed."""
TEMPLATES = "resources/templates/list"
"""The one list that no capability promises: of ``resources``, its page asks for the list of
resources alone."""
ANY_TOOL = "*"
"""In the place of a name: every tool may be called."""
LONGEST = 10_000
"""Characters of a text that is made up, at most."""
NONE_MAY_BE_CALLED = (
    "no tool says that it only reads (readOnlyHint) or destroys nothing (destructiveHint: false);"
    " --tool NAME names one that may be called"
)


class Tool(Struct):
    """A tool as it was listed."""

    name: str
    input_schema: dict[str, Any]
    output_schema: dict[str, Any] | None = None
    annotations: dict[str, Any] = field(default_factory=dict)
    listed: dict[str, Any] = field(default_factory=dict)
    """The whole entry."""

    @property
    def harmless(self) -> bool:
        """True if the tool says that it only reads, or destroys nothing."""
        return self.reads or self.annotations.get("destructiveHint") is False

    @property
    def reads(self) -> bool:
        """True if the tool says that it only reads."""
        return self.annotations.get("readOnlyHint") is True

    @property
    def as_task(self) -> bool:
        """True if the tool says that it is called as a task only (2025-11-25)."""
        return members(self.listed.get("execution")).get("taskSupport") == "required"

    @property
    def destroys(self) -> bool:
        """True if the tool says that it may destroy something, and not that it only reads."""
        return not self.reads and self.annotations.get("destructiveHint") is True


class Features(Struct):
    """Declared and listed features of a server in one revision on one binding."""

    revision: str
    """The one that was agreed on; another one than was asked for: not spoken."""
    capabilities: dict[str, Any] = field(default_factory=dict)
    server_info: dict[str, Any] = field(default_factory=dict)
    tools: dict[str, Tool] = field(default_factory=dict)
    resources: list[dict[str, Any]] = field(default_factory=list)
    templates: list[dict[str, Any]] = field(default_factory=list)
    prompts: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """Problems that were found while looking."""
    silent: bool = False
    """True if it took the connection, or was started, and never answered."""
    heard: bool = False
    """True if anything came of the server, of whatever kind."""
    declined: bool = False
    """True if the server has shown in an orderly way that it does not speak the revision."""
    status: int | None = None
    """The HTTP status with which it refused what began the conversation."""
    location: str = ""
    """Location that it pointed to with that status."""
    guarded: bool = False
    """True if it answered that it serves only clients with other credentials, or none here."""
    tried: bool = False
    """True if bare cases are played although nobody knows that the revision is spoken."""
    least: str = ""
    """The plainest request that was seen to be served; empty: that which has to be, in its era."""
    forgiven: set[str] = field(default_factory=set)
    """Flaws of its messages that are passed over: none of a server's are."""
    noisy: bool = False
    """True if it is known to write other lines than messages to its standard output."""
    answers_notifications: bool = False
    """True if answers were heard that have no id, though all requests were answered."""
    unlisted: set[str] = field(default_factory=set)
    """Methods of lists that were asked for, and not got."""
    shut: set[str] = field(default_factory=set)
    """Those of them that want credentials, and were asked for without."""
    unknown: set[str] = field(default_factory=set)
    """Methods that no capability promises, and that the server does not have (-32601)."""
    mute: set[str] = field(default_factory=set)
    """Bindings over which errors were waited for that were due, and did not come."""
    allowed: tuple[str, ...] = ()
    """Names of tools that may be called whatever they say of themselves."""
    withheld: frozenset[str] = frozenset()
    """Names of tools that no case gets to see, as they say that they destroy."""
    shown: Shown = field(default_factory=Shown)
    """Features that were found by trying; shared by all copies of these features."""
    seen: Seen = field(default_factory=Seen)
    """Outcomes of calls that were seen; shared by all copies, too."""
    pace: Pace = field(default_factory=Pace)
    """Calls that take longer than an answer may, as far as was seen; shared by all copies, too."""

    def has(self, need: str) -> str:
        """Return why a case that needs this does not apply; empty if it does."""
        kind, separator, name = need.partition(":")
        if not separator:
            return "" if self.declares(need) else f"the server does not declare {need}"
        if kind == "method":
            return "" if self.serves(name) else f"the server has no {name}"
        if kind == "found":
            return ""  # the case itself looks for it
        there: dict[str, list[Any]] = {
            "tool": [*self.tools],
            "prompt": [each.get("name") for each in self.prompts],
            "resource": [each.get("uri") for each in self.resources],
            "template": [each.get("uriTemplate") for each in self.templates],
        }
        if name not in there[kind]:
            return f"the server has no {kind} {name}"
        if kind == "tool" and not self.may_be_named(self.tools[name]):
            return f"the tool {name} says that it destroys; --tool {name} allows to call it"
        return ""

    def usable(self) -> "Features":
        """Return the features without malformed parts: entries that cannot be asked for, schemas.

        Tools that say that they destroy, and were not allowed, are left out as well, and what takes
        longer than an answer may comes last.  Cases that work with something that was listed find
        it here; those about the lists themselves ask for them again, and see them as they are.
        """
        slow = self.pace.slow
        tools = sorted(self.tools.items(), key=lambda each: (CALL, each[0]) in slow)
        resources = _identified(self.resources, "uri")
        prompts = _identified(self.prompts, "name")
        return structs.replace(
            self,
            tools={
                name: structs.replace(
                    tool,
                    input_schema=_sound(tool.input_schema),
                    output_schema=members(tool.output_schema) or None,
                )
                for name, tool in tools
                if self.may_be_named(tool)
                and (not tool.listed or isinstance(tool.listed.get("name"), str))
            },
            withheld=frozenset(
                name for name, tool in self.tools.items() if not self.may_be_named(tool)
            ),
            resources=sorted(resources, key=lambda each: (READ, each["uri"]) in slow),
            templates=_identified(self.templates, "uriTemplate"),
            prompts=sorted(prompts, key=lambda each: (PROMPT, each["name"]) in slow),
        )

    def unspoken(self, revision: str) -> str:
        """Return why the revision is taken for one that is not spoken; empty if it is."""
        if self.revision == revision:
            return ""
        why = "; ".join(self.problems)
        return f"the server does not speak {revision}" + (f": {why}" if why else "")

    def declares(self, path: str) -> bool:
        """Return True if a capability is declared; ``resources.subscribe`` has to be true."""
        value: Any = self.capabilities
        for part in path.split("."):
            if not isinstance(value, dict) or part not in value:
                return False
            value = value[part]
        return value is not False and value is not None

    def offer_of(self, method: str, params: Any) -> Offer | None:
        """Return the listed object that a request asks for; None if it asks for none of them."""
        name = members(params).get("uri" if method == READ else "name")
        there = method == CALL and name in [*self.tools]
        there |= method == PROMPT and any(each.get("name") == name for each in self.prompts)
        there |= method == READ and any(each.get("uri") == name for each in self.resources)
        return (method, str(name)) if there else None

    def params_for(self, offer: Offer) -> dict[str, Any]:
        """The params that ask for something as it should be asked for: arguments are made up."""
        method, name = offer
        if method == READ:
            return {"uri": name}
        if method == CALL:
            return {"name": name, "arguments": sample(self.tools[name].input_schema)}
        prompt = next(each for each in self.prompts if each.get("name") == name)
        needed = [each for each in objects(prompt.get("arguments")) if each.get("required") is True]
        given = {str(each.get("name")): "kit" for each in needed}
        return {"name": name, **({"arguments": given} if given else {})}

    def may_call(self, tool: Tool) -> bool:
        """Return True if a tool of the list may be called: all such tools are chosen by this.

        That is one that was allowed, that says of itself that it does no harm, or that has a name
        of which the kit knows so.  A tool that says nothing of itself may destroy something, as
        the specification has it (``ToolAnnotations``).
        """
        return tool.harmless or self._trusted(tool)

    def may_be_named(self, tool: Tool) -> bool:
        """Return True if a tool named by a case may be called: not if it says that it destroys."""
        return self._allowed(tool) or not tool.destroys

    def _allowed(self, tool: Tool) -> bool:
        return ANY_TOOL in self.allowed or tool.name in self.allowed

    def _trusted(self, tool: Tool) -> bool:
        """Return True if it was allowed, or has a name of a harmless one and says nothing else."""
        return self._allowed(tool) or (tool.name in KNOWN and not tool.destroys)

    def plainest_tool(self) -> Tool | None:
        """Return a tool to call: an allowed or a harmless one, with the fewest arguments.

        One that takes longer than an answer may is the last choice.
        """
        names = (*self.allowed, *FIRST_CHOICE)
        usable = [
            tool
            for tool in self.tools.values()
            if self.may_call(tool)
            and not tool.as_task
            and (tool.name in names or sampled(tool.input_schema) is not None)
        ]
        return min(
            usable,
            key=lambda tool: (
                (CALL, tool.name) in self.pace.slow,
                names.index(tool.name) if tool.name in names else len(names),
                not tool.harmless,
                not tool.reads,
                len(items(tool.input_schema.get("required"))),
            ),
            default=None,
        )

    def plain_tools(self, at_most: int | None = None) -> list[Tool]:
        """Tools to call, the plainest first: what was named, and what says that it only reads."""
        first = self.plainest_tool()
        others = [
            tool
            for tool in self.tools.values()
            if (tool.reads or self._trusted(tool))
            and not tool.as_task
            and sampled(tool.input_schema) is not None
            and tool is not first
        ]
        return [] if first is None else [first, *others][:at_most]

    def tried_tools(self, at_most: int) -> list[Tool]:
        """Tools to try, all that may be called: the plainest first, then what only reads."""
        first = self.plain_tools()
        others = [
            tool
            for tool in self.tools.values()
            if self.may_call(tool) and sampled(tool.input_schema) is not None and tool not in first
        ]
        return [*first, *others][:at_most]

    def harmless_request(self, *, modern: bool) -> tuple[str, dict[str, Any]]:
        """A request that the server serves: a list that it has declared, else the plainest one."""
        got = [method for method in self.lists if method not in self.unlisted]
        plainest = self.plainest_request(modern=modern)
        return next(iter([*got, *self.lists]), plainest), {}

    def serves(self, method: str) -> bool:
        """Return True unless the server has said of a method that it is not there."""
        return method not in self.unknown

    @property
    def lists(self) -> list[str]:
        """The methods of the lists that the server has declared, and does not withhold."""
        found = [f"{each}/list" for each in OFFERS if self.declares(each)]
        return [method for method in found if method not in self.shut]

    def plainest_request(self, *, modern: bool) -> str:
        """The method of a request that every server answers once a conversation is open."""
        return self.least or ("server/discover" if modern else "ping")


def _identified(entries: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    return [each for each in entries if isinstance(each.get(key), str)]


def _sound(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema of which one can look up properties, and what is required, without a further look.

    A subschema that says nothing is an empty one.
    """
    sound = dict(schema)
    if "properties" in schema:
        found = members(schema["properties"])
        sound["properties"] = {name: members(rules) for name, rules in found.items()}
    if "required" in schema:
        sound["required"] = texts(schema["required"])
    return sound


def sample(schema: dict[str, Any]) -> dict[str, Any]:
    """Make up arguments for what a schema of an object requires, as well as can be."""
    return _made(schema) or {}


def sampled(schema: dict[str, Any]) -> dict[str, Any] | None:
    """Make up arguments, or return None if the schema asks for more than can be made up.

    What is malformed in the schema asks for nothing.
    """
    made = _made(schema)
    follows = schema_problem(schema) or not value_problem(made, schema)
    return made if follows else None


def _made(schema: dict[str, Any]) -> dict[str, Any] | None:
    properties = members(schema.get("properties"))
    made: dict[str, Any] = {}
    for name in texts(schema.get("required")):
        value = _value(properties.get(name))
        if value is None:
            return None
        made[name] = value
    return made


def _value(rules: Any) -> Any:
    """A value for a property; None if none can be made up."""
    schema = members(rules)
    for given in ("default", "const"):
        if given in schema:
            return schema[given]
    for choices in ("enum", "examples"):
        if found := items(schema.get(choices)):
            return found[0]
    for options in ("anyOf", "oneOf"):
        if found := items(schema.get(options)):
            return _value(found[0])
    kind = schema.get("type", "string")
    if isinstance(kind, list):
        kind = kind[0] if kind else "string"
    match kind:
        case "string":
            return _text(schema)
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return True
        case "array":
            return [] if not schema.get("minItems") else [_value(schema.get("items"))]
        case "object":
            return _made(schema)
    return None


def _text(schema: dict[str, Any]) -> str | None:
    least = whole(schema.get("minLength"))
    if "pattern" in schema or least > LONGEST:
        return None
    return "kit".ljust(least, "x")


def sample_form(schema: Any) -> dict[str, Any]:
    """Fill a form of an elicitation: something valid in every field."""
    fields = members(members(schema).get("properties"))
    return {name: _value(rules) for name, rules in fields.items()}
