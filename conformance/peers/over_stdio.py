"""The SDK's own everything server over stdio: its program offers Streamable HTTP only.

Runs in the environment of an SDK.  ``over_stdio.py FILE``: the server of that file, ``mcp``, is
run as it is, with the SDK's own transport.
"""

import importlib.util
import sys
from typing import Any


def server_of(file: str) -> Any:
    """Import the file; what it does as a program it does not do."""
    spec = importlib.util.spec_from_file_location("everything", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.mcp


server = server_of(sys.argv[1])

if __name__ == "__main__":
    server.run("stdio")
