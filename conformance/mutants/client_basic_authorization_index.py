"""Mutants of clients for the page basic/authorization/index."""

from collections.abc import Iterable

from conformance.mutants.client_faults import ClientFault, also_asks, header, without_header
from conformance.mutants.model import Table
from mcpcore_conformance.kit.client_wire import Asked
from mcpcore_conformance.kit.model import LEGACY

table = Table("basic/authorization/index")


@table.client("follows", "token-handling/client-not-elsewhere", revisions=LEGACY)
class _Follows(ClientFault):
    """Takes its token wherever it is sent."""

    _redirected = False

    def replied(self, status: int) -> None:
        self._redirected = self._redirected or status in (307, 308)

    def asked(self, asked: Asked) -> Iterable[Asked]:
        if self._redirected:
            asked.headers = [
                (name, value.replace("127.0.0.1", "localhost")) for name, value in asked.headers
            ]
        return (asked,)


table.client(
    "token-in-posts-only", "token-requirements/client-every-request", revisions=LEGACY
).does("Sends its token with messages only.", without_header("authorization", "DELETE"))
table.client("other-token", "token-requirements/client-every-request").does(
    "Sends something else.", header("authorization", lambda value: "Basic a2l0")
)
table.client("carries-along", "token-handling/client-not-elsewhere").does(
    "Takes its token to another origin, too.",
    also_asks("GET", "/mcp", host="localhost", authorization="Bearer kit"),
)
table.client("turns-into-get", "token-handling/client-post-stays-post").does(
    "Asks for the other address by GET.", also_asks("GET", "/elsewhere")
)
