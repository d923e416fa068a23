"""A raw server that answers some requests wrongly: ``python -m tests.benchmarks.liar HOW BINDING``.

HOW: ``id``, ``text``, ``error``, ``short`` (it stops in the middle of a reply).  The first replies
are right, so that a comparison with a known one has to find the wrong one.
"""

import re
import sys

from benchmarks.programs import responder

RIGHT = 50
count = 0
truth = responder.reply


def lie(request: bytes, at: int = 0) -> bytes:
    global count
    count += 1
    said = truth(request, at)
    if count <= RIGHT:
        return said
    how = sys.argv[1]
    if how == "id":
        return re.sub(rb'"id":\d', b'"id":8', said)
    if how == "text":
        return said.replace(b'x"', b'y"')
    if how == "error":
        return said.replace(b'"result":{', b'"result":{"isError":true,')
    raise SystemExit(0)


responder.reply = lie

if __name__ == "__main__":
    responder.stdio() if sys.argv[2] == "stdio" else responder.http()
