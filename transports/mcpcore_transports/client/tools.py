"""A client's record of the server's tools: mirrored arguments and output schemas."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from mcpcore.engine.config import HeaderParams
from mcpcore.engine.outbound import is_repeatable
from mcpcore.errors import InvalidResponse
from mcpcore.spec.json_schema import header_params
from mcpcore.spec.types.tools import CallToolResult, Tool

logger = logging.getLogger("mcpcore.client")

Check = Callable[[Any], list[str]]
"""Function that lists the problems of a value."""


class Uncheckable(ValueError):
    """The schema may be valid, but has parts that this client cannot check."""


class ToolBook:
    """Record of the tools on every page of ``tools/list``.

    ``headers`` is the live table of mirrored arguments, used by the machine.  ``strict``: leave out
    tools with broken ``x-mcp-header`` annotations, as a client of Streamable HTTP must.
    ``compile_schema`` turns an output schema into a check; it raises Uncheckable for a schema that
    it does not support, ValueError for an invalid one.  None: results are not checked.
    ``look_up``: list the tools for the output schema of a tool that was never listed.
    ``repeatable`` is the live set of tools that declare that they may be called twice.
    At most ``limit`` tools are remembered, the oldest are forgotten.
    """

    def __init__(
        self,
        headers: dict[str, HeaderParams],
        *,
        strict: bool,
        compile_schema: Callable[[Mapping[str, Any]], Check] | None,
        look_up: bool = True,
        repeatable: set[str] | None = None,
        limit: int = 10_000,
    ) -> None:
        self._headers = headers
        self._strict = strict
        self._compile = compile_schema
        self._limit = limit
        self._wanted = self._look_up = look_up
        self._known: dict[str, None] = {}
        """Tools that were listed since the last change of the list."""
        self._outputs: dict[str, Mapping[str, Any]] = {}
        self._checks: dict[str, Check] = {}
        self._tasks: dict[str, str] = {}
        self._repeatable = repeatable

    def unknown(self, name: str, result: CallToolResult) -> bool:
        """Return True if a result can be checked only after the tools are listed.

        True at most once until the list changes: a second list would not have the tool either.
        """
        if not self._look_up or self._compile is None or name in self._known:
            return False
        if result.is_error or not result.is_structured:
            return False
        self._look_up = False
        return True

    def outdated(self, method: str) -> None:
        """Forget the tools if the notification says that their list has changed."""
        if method == "notifications/tools/list_changed":
            self._known.clear()
            self._outputs.clear()
            self._checks.clear()
            if self._repeatable is not None:
                self._repeatable.clear()
            self._look_up = self._wanted

    def task_support(self, name: str) -> str | None:
        """Return a tool's declared support for tasks (2025-11-25), None without one."""
        return self._tasks.get(name)

    def learn(self, tools: list[Tool]) -> list[Tool]:
        """Remember ``tools``; return the usable ones."""
        return [tool for tool in tools if self._learn(tool)]

    def check(self, name: str, result: CallToolResult) -> bool:
        """Check a result against the tool's output schema; return False if it is :meth:`unknown`.

        Raises InvalidResponse, also for an unusable schema: such a schema permits nothing
        (basic/index#ref-resolution).
        """
        if self.unknown(name, result):
            return False
        schema = self._outputs.get(name)
        if schema is None or self._compile is None or result.is_error:
            return True
        if not result.is_structured:
            raise InvalidResponse(
                "tools/call", f"the tool {name!r} promised structured content and gave none"
            )
        check = self._checks.get(name)
        if check is None:
            try:
                check = self._checks[name] = self._compile(schema)
            except Uncheckable as error:
                logger.warning("results of the tool %r are not checked: %s", name, error)
                del self._outputs[name]
                return True
            except ValueError as error:
                raise InvalidResponse(
                    "tools/call", f"the output schema of the tool {name!r} is unusable: {error}"
                ) from error
        if problems := check(result.structured_content):
            raise InvalidResponse(
                "tools/call",
                f"the result of the tool {name!r} breaks its schema: {'; '.join(problems)}",
            )
        return True

    def _learn(self, tool: Tool) -> bool:
        if self._strict:
            try:
                mirrored = header_params(tool.input_schema)
            except ValueError as error:
                logger.warning("the tool %r is left out: %s", tool.name, error)
                self._headers.pop(tool.name, None)
                return False
            _put(self._headers, tool.name, mirrored, self._limit)
        _put(self._known, tool.name, None, self._limit)
        if tool.output_schema is None or tool.output_schema != self._outputs.get(tool.name):
            self._checks.pop(tool.name, None)
        if self._repeatable is not None:
            self._repeatable.discard(tool.name)
            if is_repeatable(tool) and len(self._repeatable) < self._limit:
                self._repeatable.add(tool.name)
        self._tasks.pop(tool.name, None)
        if tool.execution is not None and tool.execution.task_support is not None:
            _put(self._tasks, tool.name, tool.execution.task_support, self._limit)
        if tool.output_schema is None:
            self._outputs.pop(tool.name, None)
        else:
            _put(self._outputs, tool.name, tool.output_schema, self._limit)
        return True


def _put(table: dict[str, Any], name: str, value: Any, limit: int) -> None:
    table.pop(name, None)
    table[name] = value
    if len(table) > limit:
        del table[next(iter(table))]
