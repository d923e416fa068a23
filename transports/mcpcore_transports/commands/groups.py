"""Help of command groups."""

from typing import Any

from typer.core import TyperGroup

_WHOLE = 1000
"""Maximum characters of a command's summary: it takes two lines rather than being cut."""


class Group(TyperGroup):
    """Command group whose help has a whole sentence for each command."""

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
