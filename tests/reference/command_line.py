"""The page reference/command-line.md: each command with its arguments and options."""

from collections.abc import Iterator
from typing import Any

import typer

from mcpcore_transports.commands.app import build
from tests.reference.sources import table

NAME = "command-line.md"
HEAD = """# Command line

The extra `cli` brings the command `mcpcore`. A server is named by a URL or by the command line that
starts it, behind `--`; [targets](../how-to/targets.md) has all forms. `mcpcore COMMAND --help` says
the same as this page.
"""


def render() -> str:
    """Return the page."""
    command: Any = typer.main.get_command(build())
    return "\n".join([HEAD, *_described(command, "mcpcore", {})])


def _described(command: Any, name: str, seen: dict[str, str]) -> Iterator[str]:
    yield f"## {name}"
    yield ""
    yield from _help(command.help or "")
    with command.make_context(name, [], resilient_parsing=True) as context:
        refused = getattr(command, "refused", ())
        shown = [
            each
            for each in command.get_params(context)
            if not getattr(each, "hidden", False) and each.name not in refused
        ]
    rows = [[f"`{_names(each)}`", _meaning(each)] for each in shown if each.name != "help"]
    if len(rows) > 1 and str(rows) in seen:
        yield f"It takes the arguments and options of `{seen[str(rows)]}`."
        yield ""
    elif rows:
        seen[str(rows)] = name
        yield from table(["Argument or option", "Meaning"], rows)
    if command.epilog:
        yield command.epilog
        yield ""
    for key, each in getattr(command, "commands", {}).items():
        if not each.hidden:
            yield from _described(each, f"{name} {key}", seen)


def _help(text: str) -> Iterator[str]:
    """Paragraphs; those that keep their lines are examples."""
    for paragraph in text.split("\n\n"):
        if paragraph.startswith("\b\n"):
            title, *lines = paragraph.removeprefix("\b\n").splitlines()
            if not title.endswith(":"):
                title, lines = "", [title, *lines]
            yield from ((title, "") if title else ())
            yield "```sh"
            yield from (line.removeprefix("  ") for line in lines)
            yield "```"
        else:
            yield " ".join(paragraph.split())
        yield ""


def _names(param: Any) -> str:
    choices = [str(getattr(each, "value", each)) for each in param.type_descriptor.choices or ()]
    value = str(param.metavar or "|".join(choices) or param.name.upper()).replace("|", "\\|")
    if param.param_type_name == "argument":
        return value
    names = ", ".join([*param.opts, *param.secondary_opts])
    return names if getattr(param, "is_flag", False) else f"{names} {value}"


def _meaning(param: Any) -> str:
    text = getattr(param, "help", None) or ""
    default = param.default
    if default not in (None, False, ()) and getattr(param, "show_default", False):
        text = f"{text} Default: {getattr(default, 'value', default)}."
    return text.replace("|", "\\|")
