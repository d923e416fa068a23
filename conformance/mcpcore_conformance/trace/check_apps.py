"""Checks of apps: the metadata of tools that have one, and the documents that are read for them."""

from collections.abc import Iterator
from typing import Any

from mcpcore.spec.apps import app_of, document_problems, is_document, tool_problems
from mcpcore_conformance.trace.book import Asked, Book, Conversation
from mcpcore_conformance.trace.dialogue import Said


def check_apps(book: Book, talk: Conversation, said: Said, asked: Asked) -> None:
    """Look at an answer to tools/list or resources/read, as far as it is about apps."""
    uri = str(asked.said.params.get("uri"))
    if said.record.redactions:
        return
    if said.kind == "error":
        if asked.said.method == "resources/read" and uri in talk.apps:
            text = f"there is no {uri:.200}, which is the app of a tool"
            book.find("app-exists", said.line, "server", text, asked.revision)
        return
    found: list[tuple[str, str]] = []
    if asked.said.method == "tools/list":
        tools = _objects(said.result.get("tools"))
        talk.apps.update(filter(None, (app_of(each.get("_meta")) for each in tools)))
        found = [
            ("app-tool", f"{each.get('name')}: {problem}")
            for each in tools
            for problem in tool_problems(each.get("_meta"))
        ]
    elif asked.said.method == "resources/read" and uri in talk.apps:
        found = [
            ("app-document", f"{uri:.200}: {problem}")
            for each in _objects(said.result.get("contents"))
            for problem in _of_contents(each)
        ]
    for rule, text in found:
        book.find(rule, said.line, "server", text, asked.revision)


def _of_contents(contents: dict[str, Any]) -> Iterator[str]:
    yield from document_problems(
        contents.get("uri"), contents.get("mimeType"), contents.get("_meta")
    )
    text = contents.get("text")
    if isinstance(text, str) and not is_document(text):
        yield "it does not begin with <!doctype html>"


def _objects(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
