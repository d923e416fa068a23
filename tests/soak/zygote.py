"""The servers of the soak on standard input and output: see :mod:`tests.bindings.zygote`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.bindings.zygote import main
from tests.soak.network import SETTINGS
from tests.soak.tools import make_server

if __name__ == "__main__":
    main(make_server, SETTINGS)
