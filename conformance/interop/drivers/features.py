"""The list of features, and the driving of them."""

import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from functools import partial

import anyio

from conformance.interop.drivers import conversation, offers, questions
from conformance.interop.drivers.caller import Caller, Unavailable

PATIENCE = 60.0
"""Seconds that any one feature may take."""
DETAIL = 300
"""Characters of what went wrong."""

FIRST, V2025_03, V2025_06, V2025_11, LAST = (
    "2024-11-05",
    "2025-03-26",
    "2025-06-18",
    "2025-11-25",
    "2026-07-28",
)


class Speaks(Enum):
    """When a server speaks in a feature, beside answering."""

    NEVER = "never"
    ASKS = "asks"
    """It asks the client something: a request of its own, where the era has these."""
    TELLS = "tells"
    """It tells the client something, or listens to it, outside of requests and answers."""


ASKS, TELLS = Speaks.ASKS, Speaks.TELLS


@dataclass(frozen=True)
class Feature:
    """Something that both sides have: one call of ``run`` is one round of it."""

    name: str
    run: Callable[[Caller], Awaitable[None]]
    since: str = FIRST
    until: str = LAST
    """The first and the last revision that have it."""
    speaks: Speaks = Speaks.NEVER
    transports: tuple[str, ...] = ("stdio", "http", "http, stateless", "sse", "websocket")


@dataclass
class Cell:
    """The outcome of a feature between one client and one server."""

    feature: str
    outcome: str
    """``ok``, ``failed`` or ``unavailable``."""
    detail: str = ""
    ms: list[float] = field(default_factory=list)
    """The time of each round, in milliseconds."""

    def line(self) -> str:
        """Return it as a line of JSON."""
        return json.dumps(asdict(self))


FEATURES: tuple[Feature, ...] = (
    Feature("initialize, discover", conversation.opening),
    Feature("ping", conversation.ping, until=V2025_11),
    Feature("ping by the server", conversation.ping_back, speaks=ASKS, until=V2025_11),
    Feature("tools/list", offers.tools_list),
    Feature("titles, icons, annotations", offers.titles, since=V2025_11),
    Feature("tools/call", offers.tools_call),
    Feature("long texts", offers.long_texts),
    Feature("parallel calls", offers.parallel_calls),
    Feature("pagination", offers.pagination),
    Feature("progress", conversation.progress, speaks=TELLS),
    Feature("structured output", offers.structured_output, since=V2025_06),
    Feature("tool error", offers.tool_error),
    Feature("invalid arguments", offers.invalid_arguments),
    Feature("unknown tool", offers.unknown_tool),
    Feature("unknown prompt", offers.unknown_prompt),
    Feature("unknown method", offers.unknown_method),
    Feature("image content", offers.image_content),
    Feature("audio content", offers.audio_content, since=V2025_03),
    Feature("resource link", offers.resource_link, since=V2025_06),
    Feature("embedded resource", offers.embedded_resource),
    Feature("resources/list", offers.resources_list),
    Feature("resources/read: text", offers.read_text),
    Feature("resources/read: blob", offers.read_blob),
    Feature("resource templates", offers.templates),
    Feature("resource not found", offers.resource_not_found),
    Feature("prompts/list", offers.prompts_list),
    Feature("prompts/get", offers.prompts_get),
    Feature("prompt content", offers.prompt_content),
    Feature("completion", offers.completion),
    Feature("completion context", offers.completion_context, since=V2025_06),
    Feature("logging", conversation.logging, speaks=TELLS),
    Feature("logging levels", conversation.logging_levels, speaks=TELLS),
    Feature("elicitation: accept", questions.elicitation_accept, speaks=ASKS, since=V2025_06),
    Feature("elicitation: decline", questions.elicitation_decline, speaks=ASKS, since=V2025_06),
    Feature("elicitation: cancel", questions.elicitation_cancel, speaks=ASKS, since=V2025_06),
    Feature("elicitation: fields", questions.elicitation_fields, speaks=ASKS, since=V2025_11),
    Feature("elicitation: URL", questions.elicitation_url, speaks=ASKS, since=V2025_11),
    Feature(
        "elicitation: complete",
        questions.visit_told,
        speaks=TELLS,
        since=V2025_11,
        until=V2025_11,
    ),
    Feature(
        "elicitation: required",
        questions.url_required,
        speaks=TELLS,
        since=V2025_11,
        until=V2025_11,
    ),
    Feature("several questions", questions.several_questions, speaks=ASKS, since=V2025_06),
    Feature("sampling", questions.sampling, speaks=ASKS),
    Feature("sampling refused", questions.sampling_refused, speaks=ASKS),
    Feature("sampling with tools", questions.sampling_with_tools, speaks=ASKS, since=V2025_11),
    Feature("roots", questions.roots, speaks=ASKS),
    Feature("roots changed", questions.roots_changed, speaks=TELLS, until=V2025_11),
    Feature("cancellation", conversation.cancellation, speaks=TELLS),
    Feature("timeout", conversation.timeout),
    Feature("timeout cancels", conversation.timeout_cancels, speaks=TELLS),
    Feature("tools changed", conversation.tools_changed, speaks=TELLS),
    Feature("prompts changed", conversation.prompts_changed, speaks=TELLS),
    Feature("resources changed", conversation.resources_changed, speaks=TELLS),
    Feature("resource updated", conversation.resource_updated, speaks=TELLS),
    Feature("task: result", conversation.task_result, speaks=ASKS, since=V2025_11, until=V2025_11),
    Feature("task: input", conversation.task_input, speaks=ASKS, since=V2025_11, until=V2025_11),
    Feature("task: cancel", conversation.task_cancel, speaks=ASKS, since=V2025_11, until=V2025_11),
    Feature("task: modes", conversation.task_modes, since=V2025_11, until=V2025_11),
    Feature("cache hints", offers.cache_hints, since=LAST),
    Feature("header mirroring", offers.header_mirroring, since=LAST, transports=("http",)),
    Feature("missing capability", questions.missing_capability, speaks=ASKS),
    Feature("session: end", conversation.session_end, until=V2025_11, transports=("http",)),
    Feature("session: lost", conversation.session_lost, until=V2025_11, transports=("http",)),
)

BY_NAME = {feature.name: feature for feature in FEATURES}


async def measure(
    name: str,
    one_round: Callable[[], Awaitable[None]],
    rounds: int = 1,
    patience: float = PATIENCE,
) -> Cell:
    """Run one feature a number of times; what it raises becomes its outcome."""
    cell = Cell(name, "ok")
    try:
        with anyio.fail_after(patience):
            for _ in range(rounds):
                began = time.perf_counter()
                await one_round()
                cell.ms.append((time.perf_counter() - began) * 1000)
    except Exception as raised:
        error: BaseException = raised
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        cell.outcome = "unavailable" if isinstance(error, Unavailable) else "failed"
        detail = " ".join(f"{type(error).__name__}: {error}".split())
        cell.detail = detail.rstrip(": ")[:DETAIL]
    return cell


async def drive(
    caller: Caller,
    rounds: Mapping[str, int],
    tell: Callable[[Cell], object],
    patience: float = PATIENCE,
) -> None:
    """Run the features named in ``rounds``, each so many times, and tell each outcome."""
    for name, count in rounds.items():
        tell(await measure(name, partial(BY_NAME[name].run, caller), count, patience))
