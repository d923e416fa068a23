"""One cell in this process: ``python -m tests.torture.alone TASK FILE``, for the campaign."""

import faulthandler
import resource
import sys
import time
from pathlib import Path

from msgspec import json

from tests.tools import INTERRUPTED, interrupted
from tests.torture.campaign import Result, Task
from tests.torture.cells import each, torture
from tests.torture.run import Found

STUCK = 400.0
"""Seconds after which one run that nothing can end shows where it is, and ends the program."""


def main(said: str, file: str) -> int:
    """Do it, and write what came of it into the file; returns the exit status."""
    task = json.decode(said, type=Task)
    began = time.monotonic()

    def tell(found: Found) -> None:
        faulthandler.dump_traceback_later(STUCK, exit=True)

    faulthandler.dump_traceback_later(STUCK, exit=True)
    try:
        tally = torture(task.cell, each(task.every, task.start), tell, look=task.reach)
    except BaseException as error:
        if not interrupted(error):
            raise
        return INTERRUPTED
    took = time.monotonic() - began
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(each.ru_utime + each.ru_stime for each in used)
    Path(file).write_bytes(json.encode(Result(task, tally, round(took, 1), round(cpu, 1))))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
