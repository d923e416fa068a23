"""End of a command: an expected failure becomes one sentence and an exit status."""

import logging
from collections.abc import Callable
from typing import Never

import typer

from mcpcore.errors import BadTarget
from mcpcore_transports.commands.output import Exit, Failure, print_error


def guarded(verbose: bool, work: Callable[[], int]) -> Never:
    """Run a command; exit with the status that it returns, or with that of its failure."""
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.ERROR,
        format="%(levelname)s %(name)s: %(message)s",
    )
    try:
        status = work()
    except Failure as failure:
        print_error(str(failure))
        status = failure.status
    except BadTarget as error:
        print_error(str(error))
        status = Exit.USAGE
    except KeyboardInterrupt:
        status = Exit.INTERRUPTED
    raise typer.Exit(status)
