"""Help whose options stand in groups, by what they are for."""

from collections.abc import Collection
from typing import Any

from typer.core import TyperCommand

GROUPS = {
    "What is played": ("show", "as_json", "only", "revisions", "transports", "tools", "thorough"),
    "How it is played": ("jobs", "timeout", "seed"),
    "What fails": ("strict", "expected_failures", "write_expected"),
    "What is shown and kept": ("reports", "verbose", "trace_dir", "trace_all", "trace_secrets"),
    "How the program is reached": (
        *("headers", "other_headers", "protected", "ca", "cert", "key", "env", "cwd", "config"),
    ),
}
"""Headings, and the parameters under them, in order; what is in none comes last."""


def grouped(usage: str, hidden: Collection[str] = ()) -> type[TyperCommand]:
    """A command whose help is grouped, and says what is behind its options: ``usage``.

    ``hidden``: parameters that it refuses with a reason.
    """

    class Command(TyperCommand):
        refused = frozenset(hidden)

        def collect_usage_pieces(self, ctx: Any) -> list[str]:
            return ["[OPTIONS]", *([usage] if usage else [])]

        def format_options(self, ctx: Any, formatter: Any) -> None:
            shown = {
                each.name: each.get_help_record(ctx)
                for each in self.get_params(ctx)
                if each.name not in self.refused
            }
            for heading, names in GROUPS.items():
                _write(formatter, heading, [shown.pop(name, None) for name in names])
            _write(formatter, "Options", [*shown.values()])

    return Command


def _write(formatter: Any, heading: str, records: list[Any]) -> None:
    if found := [each for each in records if each is not None]:
        with formatter.section(heading):
            formatter.write_dl(found)
