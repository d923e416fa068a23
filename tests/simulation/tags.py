"""Marks that the applications put into messages, and read again."""

import json
from typing import Any

from msgspec import Raw

from tests.simulation.rules import demand
from tests.simulation.work import TEXTS


class Tag:
    """What a message says of itself: what it is, for which run, and which piece."""

    __slots__ = ("kind", "piece", "run")

    def __init__(self, kind: str, run: int, piece: int) -> None:
        self.kind = kind
        self.run = run
        self.piece = piece


def tag_of(message: Any) -> Tag | None:
    """Read the tag of a message of a server; None where it has none."""
    method = message.get("method")
    if method == "notifications/progress":
        run, piece = message["params"]["message"].split(":")
        return Tag("progress", int(run), int(piece))
    if method in ("notifications/message", "notifications/x"):
        data = message["params"]
        data = data.get("data", data)  # a text is a log message of the engine's own
        told = isinstance(data, dict) and "r" in data
        return Tag("note", data["r"], data["s"]) if told else None
    if method is not None:
        tag = question_of(message.get("params") or {}) if "id" in message else None
        return None if tag is None else Tag("ask", int(tag.split(":")[0]), 0)
    if "error" in message:
        return error_tag(message["error"].get("data"))
    return result_tag(message["result"])


def error_tag(data: Any) -> Tag | None:
    """Read the tag of what an error brings; None for errors that the engine makes."""
    if isinstance(data, Raw):
        data = json.loads(bytes(data))
    ours = isinstance(data, dict) and "made" in data
    return Tag("answer", data["r"], data["made"]) if ours else None


def result_tag(result: Any) -> Tag | None:
    """Read the tag of a result."""
    data = result.get("structuredContent")
    if data is None and result.get("resultType") == "input_required":
        data = json.loads(result["requestState"])
    if data is None and "nextCursor" in result:
        run, made = result["nextCursor"].split(":")
        return Tag("answer", int(run), int(made))
    return None if data is None else Tag("answer", data["r"], data["made"])


def check_text(data: Any) -> None:
    """Demand that a text has come as it was sent: ``t`` says which it was."""
    told = data.get("structuredContent") or data
    if "t" in told:
        text = data["content"][0]["text"] if "content" in data else data["text"]
        demand(text == TEXTS[told["t"]], "texts arrive as they were sent", told["t"], text)


def question_of(params: Any) -> str | None:
    """Read the tag of a question: run, number and how to behave."""
    if isinstance(params.get("message"), str):
        return str(params["message"])
    if "messages" in params:
        return str(params["messages"][0]["content"]["text"])
    tag = (params.get("_meta") or {}).get("tag")
    return None if tag is None else str(tag)
