"""A worker that judges DPoP proofs: ``auth_replay_child.py STORE ISSUER``, and on standard input a
token and proofs, a line each; it prints the status of each request, 200 for one let in.
"""

import sys

import anyio

from mcpcore.auth.resource_server import Dpop, Issuer
from mcpcore.http.principals import Principal, Refusal
from mcpcore_transports.auth.resource_server import ResourceServer
from mcpcore_transports.serve.endpoint import http_request
from mcpcore_transports.stores.base import open_store
from tests.transports.auth.auth_desk import RESOURCE


async def main(url: str, issuer: str) -> None:
    store = open_store(url)
    guard = ResourceServer(
        RESOURCE, [Issuer(issuer=issuer)], dpop=Dpop.REQUIRED, replays=store, max_failures=None
    )
    token, *proofs = sys.stdin.read().split()
    for proof in proofs:
        lines = [("Authorization", f"DPoP {token}"), ("DPoP", proof)]
        found = guard(http_request("POST", "/mcp", lines))
        verdict = found if isinstance(found, (Principal, Refusal)) else await found
        print(200 if isinstance(verdict, Principal) else verdict.status)
    store.close()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2])
