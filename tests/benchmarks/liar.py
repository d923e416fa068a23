"""A server that answers some requests wrongly: ``python -m tests.benchmarks.liar HOW BINDING``.

HOW: ``id``, ``text``, ``error``, ``short`` (it stops in the middle of a reply).  The first replies
are right, so that a comparison with a known one has to find the wrong one.
"""

import re
import sys

from mcpcore_bench.programs import responder
from mcpcore_bench.programs.offer import FILLERS_FROM
from mcpcore_bench.programs.responder import Shape

RIGHT = 50
COMPLETE = b'"resultType":"complete"'
count = 0
one, several = Shape.answer, Shape.answers


def lie(said: bytes | bytearray | memoryview) -> bytearray:
    global count
    count += 1
    if count <= RIGHT:
        return bytearray(said)
    how = sys.argv[1]
    if how == "id":
        return bytearray(re.sub(rb'"id":\d', b'"id":8', said))
    if how == "text":
        return bytearray(bytes(said).replace(b'x"', b'y"'))
    if how == "error":
        wrong = b'"isError":true'.ljust(len(COMPLETE))
        return bytearray(bytes(said).replace(COMPLETE, wrong))
    raise SystemExit(0)


def answer(self: Shape, request: bytearray) -> list[bytearray]:
    return [lie(part) for part in one(self, request)]


def answers(self: Shape, requests: bytearray, size: int, count: int) -> memoryview:
    return memoryview(lie(several(self, requests, size, count)))


Shape.answer = answer  # type: ignore[method-assign]
Shape.answers = answers  # type: ignore[method-assign]

if __name__ == "__main__":
    responder.BINDINGS[sys.argv[2]](responder.Replies(FILLERS_FROM))
