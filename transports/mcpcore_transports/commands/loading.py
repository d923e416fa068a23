"""Import of servers named ``MODULE:SERVER``; needs no extra, for the pytest plugin of the kit."""

import importlib
import logging
import os
import sys
from pathlib import Path
from types import ModuleType

from mcpcore.errors import BadTarget
from mcpcore.service import Server, Service

logger = logging.getLogger("mcpcore.cli")


def load(name: str) -> Service:
    """Import ``MODULE:SERVER``, ours or one of another SDK.  Raises BadTarget.

    ``:SERVER`` is ``:server`` by default.
    """
    module_name, _, attribute = name.partition(":")
    attribute = attribute or "server"
    if (file := Path(module_name)).suffix == ".py" and file.is_file():
        raise BadTarget(
            f"{module_name!r} is a file; name its module and the server in it: "
            f"{file.stem}:{attribute}"
        )
    here = os.getcwd()
    if sys.path[:1] != [here]:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except SystemExit as error:
        why = f"it ended the program (SystemExit: {error.code})"
        raise BadTarget(f"{module_name!r} cannot be imported: {why}") from None
    except Exception as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{module_name}.".startswith(f"{missing}."):
            raise BadTarget(f"there is no module {module_name!r}") from None
        logger.debug("importing %s", module_name, exc_info=True)
        why = f"{type(error).__name__}: {error}"
        raise BadTarget(f"{module_name!r} cannot be imported: {why}") from None
    if not hasattr(module, attribute):
        raise BadTarget(f"the module {module_name!r} has no {attribute!r}{_others(module)}")
    found = getattr(module, attribute)
    if isinstance(found, Server):
        return found
    from mcpcore_transports.adapters import adapt  # late: most servers are our own

    return adapt(found, f"{attribute!r} of the module {module_name!r}")


def _others(module: ModuleType) -> str:
    """Return the end of an error that names the servers which the module has."""
    from mcpcore_transports.adapters import known  # late: most servers are found

    names = [name for name, each in vars(module).items() if isinstance(each, Server) or known(each)]
    return f"; it has {', '.join(f'{module.__name__}:{name}' for name in names)}" if names else ""
