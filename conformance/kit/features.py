"""What a server has shown of itself: the kit uses what it finds."""

from typing import Any

from msgspec import Struct, field

FIRST_CHOICE = ("test_simple_text", "echo", "add", "greet")
"""Names of tools that are taken for harmless wherever they are found."""
ANY_TOOL = "*"
"""In the place of a name: every tool may be called."""
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
        """It says that it only reads, or destroys nothing."""
        reads = self.annotations.get("readOnlyHint") is True
        return reads or self.annotations.get("destructiveHint") is False


class Features(Struct):
    """What a server declared and listed, in one revision, on one binding."""

    revision: str
    """The one that was agreed on; another one than was asked for: not spoken."""
    capabilities: dict[str, Any] = field(default_factory=dict)
    server_info: dict[str, Any] = field(default_factory=dict)
    tools: dict[str, Tool] = field(default_factory=dict)
    resources: list[dict[str, Any]] = field(default_factory=list)
    templates: list[dict[str, Any]] = field(default_factory=list)
    prompts: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What went wrong while looking."""
    silent: bool = False
    """It took the connection, or was started, and never answered."""
    heard: bool = False
    """Whether anything came of the server, of whatever kind."""
    declined: bool = False
    """Whether the server has shown in an orderly way that it does not speak the revision."""
    status: int | None = None
    """The HTTP status with which it refused what began the conversation."""
    guarded: bool = False
    """Whether it answered that it serves only who has other credentials, or nobody here."""
    tried: bool = False
    """Whether bare cases are played although nobody knows that the revision is spoken."""
    least: str = "server/discover"
    """A request of the modern era that is served, whatever the server offers."""
    allowed: tuple[str, ...] = ()
    """Names of tools that may be called whatever they say of themselves."""

    def has(self, need: str) -> str:
        """Return why a case that needs this does not apply; empty if it does."""
        kind, separator, name = need.partition(":")
        if not separator:
            return "" if self.declares(need) else f"the server does not declare {need}"
        there = {
            "tool": self.tools.keys(),
            "prompt": {each.get("name") for each in self.prompts},
            "resource": {each.get("uri") for each in self.resources},
            "template": {each.get("uriTemplate") for each in self.templates},
        }[kind]
        return "" if name in there else f"the server has no {kind} {name}"

    def unspoken(self, revision: str) -> str:
        """Return why the revision is taken for one that is not spoken; empty if it is."""
        if self.revision == revision:
            return ""
        why = "; ".join(self.problems)
        return f"the server does not speak {revision}" + (f": {why}" if why else "")

    def declares(self, path: str) -> bool:
        """Whether a capability is declared; ``resources.subscribe`` has to be true."""
        value: Any = self.capabilities
        for part in path.split("."):
            if not isinstance(value, dict) or part not in value:
                return False
            value = value[part]
        return value is not False and value is not None

    def plainest_tool(self) -> Tool | None:
        """A tool to call: one that was named, or one without harm, with the fewest arguments.

        A tool that says nothing of itself may destroy something, as the specification has it
        (``ToolAnnotations``).
        """
        for name in (*self.allowed, *FIRST_CHOICE):
            if name in self.tools:
                return self.tools[name]
        usable = [
            tool
            for tool in self.tools.values()
            if (ANY_TOOL in self.allowed or tool.harmless)
            and sampled(tool.input_schema) is not None
        ]
        return min(
            usable,
            key=lambda tool: (
                not tool.harmless,
                tool.annotations.get("readOnlyHint") is not True,
                len(tool.input_schema.get("required", [])),
            ),
            default=None,
        )

    def harmless_request(self) -> tuple[str, dict[str, Any]]:
        """A request that the server has declared: a list of something, else the least there is."""
        for capability in ("tools", "resources", "prompts"):
            if self.declares(capability):
                return f"{capability}/list", {}
        return "tools/list", {}


def sample(schema: dict[str, Any]) -> dict[str, Any]:
    """Make up arguments for what a schema of an object requires."""
    return sampled(schema) or {}


def sampled(schema: dict[str, Any]) -> dict[str, Any] | None:
    """Make up arguments, or return None if the schema asks for more than can be made up."""
    properties = schema.get("properties", {})
    made: dict[str, Any] = {}
    for name in schema.get("required", []):
        value = _value(properties.get(name, {}))
        if value is None:
            return None
        made[name] = value
    return made


def _value(schema: dict[str, Any]) -> Any:
    """A value for a property; None if none can be made up."""
    for given in ("default", "const"):
        if given in schema:
            return schema[given]
    for choices in ("enum", "examples"):
        if schema.get(choices):
            return schema[choices][0]
    for options in ("anyOf", "oneOf"):
        if schema.get(options):
            return _value(schema[options][0])
    kind = schema.get("type", "string")
    if isinstance(kind, list):
        kind = kind[0]
    match kind:
        case "string":
            return None if "pattern" in schema else "kit".ljust(schema.get("minLength", 0), "x")
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return True
        case "array":
            return [] if not schema.get("minItems") else [_value(schema.get("items", {}))]
        case "object":
            return sampled(schema)
    return None


def sample_form(schema: dict[str, Any]) -> dict[str, Any]:
    """Fill a form of an elicitation: something valid in every field."""
    return {name: _value(rules) for name, rules in schema.get("properties", {}).items()}
