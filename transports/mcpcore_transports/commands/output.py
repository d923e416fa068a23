"""Output and end of a command: tables for people, JSON for programs, errors in one sentence."""

import json
import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum
from typing import Any, Never

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mcpcore.errors import BadTarget

errors = Console(stderr=True, highlight=False, soft_wrap=True)
out = Console(highlight=False, soft_wrap=True)


class Exit(IntEnum):
    """Exit status of the command."""

    OK = 0
    REFUSED = 1
    """Error response of the server, failure of the tool, or failure of a server's lifespan."""
    USAGE = 2
    FAILED = 3
    """No connection, no common protocol, no answer in time."""
    INTERRUPTED = 130


_LEVELS = {
    "mcpcore": logging.ERROR,
    "mcpcore.auth": logging.WARNING,
    "mcpcore.gateway": logging.WARNING,
    "mcpcore.guard": logging.WARNING,
}
"""Levels of our loggers: warnings tell to whom credentials go, what clients do not get, and what
servers are not trusted with."""


class Failure(Exception):
    """End of the command with a message and an exit status."""

    def __init__(self, message: str, status: Exit = Exit.FAILED) -> None:
        super().__init__(message)
        self.status = status


def wrong(message: str) -> Failure:
    """Make the failure of a command that was used wrongly."""
    return Failure(message, Exit.USAGE)


def guarded(verbose: bool, work: Callable[[], int], level: str | None = None) -> Never:
    """Run a command; exit with the status that it returns, or with that of its failure.

    ``level``: that of the log messages that are seen, before what ``verbose`` says.
    """
    chosen = level or ("debug" if verbose else None)
    if not logging.getLogger().handlers:  # else somebody has set up what is to be seen
        logging.basicConfig(
            level=(chosen or "warning").upper(), format="%(levelname)s %(name)s: %(message)s"
        )
        for name, least in () if chosen else _LEVELS.items():
            logging.getLogger(name).setLevel(least)
        logging.getLogger("asyncio").addFilter(_is_no_interrupt)
    try:
        status = work()
    except (Failure, BadTarget) as error:
        print_error(str(error))
        status = error.status if isinstance(error, Failure) else Exit.USAGE
    except KeyboardInterrupt:
        status = Exit.INTERRUPTED
    raise typer.Exit(status)


def _is_no_interrupt(record: logging.LogRecord) -> bool:
    """Return False for a Ctrl-C that asyncio logs as the failure of a task: the status tells it."""
    return not (record.exc_info and isinstance(record.exc_info[1], KeyboardInterrupt))


def say(text: str) -> None:
    """Write a line on standard error at once."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def escaped(text: str, *, lines: bool = False) -> str:
    """Return a text without the characters that a terminal would obey; ``lines``: but for LF."""
    if text.isprintable():  # a line that is all right, which may be long
        return text
    kept = "\n" if lines else ""
    shown = (char if char.isprintable() or char in kept else ascii(char)[1:-1] for char in text)
    return "".join(shown)


def print_error(message: str) -> None:
    """Print an error message on standard error, where a terminal obeys nothing in it."""
    errors.print(f"[bold red]error:[/] {escape(escaped(message, lines=True))}")


def print_warning(message: str) -> None:
    """Print a warning on standard error, as an error."""
    errors.print(f"[yellow]warning:[/] {escape(escaped(message, lines=True))}")


def print_json(value: Any) -> None:
    """Print a value as indented JSON, without the members that are absent on the wire."""
    few = sys.stdout.errors == "backslashreplace"  # few characters, and its codes are not JSON's
    json.dump(msgspec.to_builtins(value), sys.stdout, indent=2, ensure_ascii=few)
    sys.stdout.write("\n")
    sys.stdout.flush()


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table; an empty one as a single line."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, header_style="dim", overflow="fold", no_wrap=index == 0)
    for row in rows:
        table.add_row(*(escape(escaped(cell, lines=True)) for cell in row))
    if table.row_count:
        _print_aligned(table)
    else:
        out.print(f"[bold]{escape(title)}[/]: none")


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Print names and values, aligned."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(name, escape(escaped(value, lines=True)))
    _print_aligned(table)


def _print_aligned(table: Table) -> None:
    # Only a terminal bounds the width, as cut lines are of no use in a pipe.
    console = out if out.is_terminal else Console(width=500, highlight=False)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        sys.stdout.write(line.rstrip() + "\n")


def print_block(block: Any) -> None:
    """Print a content block: text as it is, other kinds as a description."""
    kind = getattr(block, "type", None) or type(block).__struct_config__.tag
    if kind == "text":
        sys.stdout.write(block.text + "\n")
    elif kind in ("image", "audio"):
        size = len(block.data) * 3 // 4
        _print_kind(f"{kind} {block.mime_type}, about {size} bytes")
    elif kind == "resource":
        contents = block.resource
        mime_type = "" if contents.mime_type is None else f" {contents.mime_type}"
        _print_kind(f"resource {contents.uri}{mime_type}")
        if contents.text is not None:
            sys.stdout.write(contents.text + "\n")
    elif kind == "resource_link":
        _print_kind(f"resource {block.uri}: {block.name}")
    else:
        print_json(block)


def _print_kind(text: str) -> None:
    out.print(f"[dim]\\[{escape(escaped(text))}][/]")


def first_line(text: str | None) -> str:
    """Return the first line of a description, empty if there is none."""
    return next(iter((text or "").strip().splitlines()), "")
