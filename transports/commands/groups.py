"""Help of commands that hold others."""

from typing import Any

from typer.core import TyperGroup

_WHOLE = 1000
"""Characters of a first sentence: it is told in two lines rather than cut in one."""


class Group(TyperGroup):
    """A group whose help tells of each command in a whole sentence."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands."""
        listed = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(
                [
                    (name, command.get_short_help_str(_WHOLE))
                    for name, command in listed
                    if command is not None and not command.hidden
                ]
            )
