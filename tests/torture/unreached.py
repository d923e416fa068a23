"""Functions and modules of ``transports`` that wait where no story comes to, with reasons.

With each stands how many such places it has, and how many of them may stay without a visit: whoever
adds one has to look whether that is reached, and none is lost unseen.
"""

from collections.abc import Mapping

from msgspec import Struct


class Excuse(Struct, frozen=True):
    """Of one function, or of a module of which no story comes to anything."""

    waits: int
    """How many places it has that wait, reached or not."""
    missed: int
    """To how many of them stories need not come."""
    why: str


def _all(why: str, named: Mapping[str, tuple[int, int]]) -> dict[str, Excuse]:
    return {name: Excuse(*counts, why) for name, counts in named.items()}


_FAILING = "it waits where something has failed: runs with failures come to it"
_COMMANDS = "the command line: what it does is what clients and servers of other rows do"
_OTHERS = "it is for other platforms, and for descriptors that cannot be watched"
_RARE = "a turn that depends on timing, or on what another program sends"
_EMBEDDED = "for who embeds the library, and has tests of its own"
_AUTHORIZING = "a client that authorizes itself: tests/transports/auth comes to it"

_AUTHORIZED = "authorization: no story has it, and it has tests of its own over sockets"

_OTHER_SDKS = "servers of other SDKs, in environments of theirs: tests/interop/test_adapters.py"
_SEVERAL = "several servers in one program: tests/transports/client/test_servers.py comes to it"
_POLICIES = "no story retries or waits for a limiter: tests of policies over sockets do"
_GATEWAY = "a gateway: tests/gateway comes to it over sockets and processes"
_CACHING = (
    "no story has a cache for several callers: tests/transports/client/test_client_cache.py does"
)
_GUARDING = "no story guards a server: tests/transports/client/test_guarding.py and test_pins.py do"
_TIMED = "no tool has a time of its own: tests/transports/server/test_tool_timeouts.py does"
_MOUNTING = "no story mounts a server: tests/transports/serve/test_mounted_lifespans.py does"
_REGISTRIES = "a registry of servers: tests/transports/client/test_registry.py comes to it"
_STORED_TASKS = "no story has tasks in a store: tests/transports/tasks/test_tasks_stored.py does"
_OBSERVING = (
    "no story is observed: tests/transports/telemetry/test_metrics.py and test_telemetry.py are"
)
_WSGI = "another framework: tests/transports/serve/test_wsgi.py comes to it"

WHY: dict[str, Excuse] = {
    **_all(
        _GATEWAY,
        {
            "gateway/gateway.py": (4, 4),
            "serve/serve.py serve.offer_all": (1, 1),
            "gateway/middleware.py": (3, 3),
            "gateway/route.py": (9, 9),
            "gateway/sign_in.py": (16, 16),
            "gateway/subjects.py": (1, 1),
            "gateway/upstreams.py": (11, 11),
            "serve/serve.py Bindings.open_http": (2, 1),
            "serve/serve.py serve": (3, 1),
        },
    ),
    **_all(
        _OTHER_SDKS,
        {
            "adapters/sdk1.py": (3, 3),
            "adapters/sdk2.py": (9, 9),
            "adapters/server.py": (3, 3),
        },
    ),
    **_all(_SEVERAL, {"client/managed.py": (11, 11), "client/servers.py": (34, 34)}),
    **_all(
        _POLICIES,
        {
            "client/policies.py": (4, 4),
            "client/callbacks.py Callbacks.answer.later": (2, 2),
            "server/rate_limits.py": (1, 1),
            "server/answering.py Answering._begin_later": (2, 2),
            "stores/redis_rates.py": (2, 2),
        },
    ),
    **_all(
        _GUARDING,
        {
            "client/client.py connect.__aenter__": (3, 2),
            "client/guarding.py": (7, 7),
            "client/pins.py": (4, 4),
        },
    ),
    **_all(
        _CACHING,
        {
            "client/cache.py ServerCache._flight.fly": (1, 1),
            "client/cache.py ServerCache._shared": (1, 1),
            "client/cache.py ServerCache.result": (2, 1),
            "client/cache.py _SharedRequest.wait": (1, 1),
        },
    ),
    **_all(_TIMED, {"server/runtime.py _in_time": (2, 2)}),
    **_all(_MOUNTING, {"server/lifespan.py _LifespanRun.run": (4, 1)}),
    **_all(
        _AUTHORIZED,
        {
            "auth/resource_server.py": (9, 9),
            "serve/assembling.py serve_connection": (2, 1),
            "serve/assembling.py _while_authorized": (2, 2),
            "serve/assembling.py _while_authorized.expire": (1, 1),
        },
    ),
    **_all(
        _FAILING,
        {
            "serve/asgi.py AsgiApp._lifespan": (7, 4),
            "serve/asgi.py AsgiApp._websocket": (3, 2),
            "client/listen.py Listening.__aenter__": (3, 1),
            "client/client.py connect._agree": (2, 1),
            "http/server/listening.py HttpServerLink.serve": (2, 0),
            "server/lifespan.py _LifespanRun._stay": (2, 1),
            "http/client/client.py Origin._tunnel": (2, 1),
            "http/client/client.py PooledConnection._carry_out": (7, 3),
            "stream/plain.py accept_each": (3, 1),
            "stdio/process.py ProcessLink._exited": (2, 1),
            "stream/channels.py SecureStream.aclose": (4, 1),
            "stream/channels.py SecureStream.settle": (1, 1),
            "sockets/client.py SocketClientLink._connect_unix": (2, 1),
            "sockets/server.py SocketServerLink._close": (5, 1),
            "sockets/server.py SocketServer._let_in": (2, 1),
            "http/server/store_link.py StoreLink._listen": (2, 1),
            "client/tasks.py Follower._fetch": (2, 1),
            "stream/plain.py PendingConnections.__aexit__": (1, 1),
            "serve/workers.py Supervisor._await_ready": (2, 1),
        },
    ),
    **_all(
        _AUTHORIZING,
        {
            "client/core.py ClientCore._step_up": (2, 2),
            "client/reconnect.py ReconnectingLink.replace": (2, 2),
            "running/functions.py let_wait": (1, 1),
            "running/pending.py Waiting.idle": (1, 1),
            "auth/authorizer.py": (16, 16),
            "auth/browser.py": (11, 11),
            "auth/callback.py": (15, 15),
            "auth/carrying.py": (17, 17),
            "auth/exchange.py": (4, 4),
            "auth/fetching.py": (12, 12),
            "auth/file_store.py": (7, 7),
            "auth/keyring_store.py": (3, 3),
            "http/client/authorization.py": (10, 10),
            "auth/stores.py": (1, 1),
            "client/client.py connect._start": (3, 1),
            "client/core.py ClientCore.open_stream.send": (2, 1),
            "running/functions.py looked_up": (1, 1),
            "http/client/client.py HttpClientLink.headers_of": (2, 1),
            "websocket/client.py websocket_client_link.opening": (2, 1),
            "websocket/client.py websocket_client_link.opening.attempt": (1, 1),
        },
    ),
    **_all(
        _COMMANDS,
        {
            "commands/auth.py": (12, 12),
            "commands/client.py": (12, 12),
            "commands/examination.py": (13, 13),
            "commands/processes.py": (12, 12),
            "commands/pins.py": (1, 1),
            "commands/target.py": (8, 8),
            "commands/tokens.py": (2, 2),
            "stdio/server.py StdioServerLink._watch_signals": (1, 1),
        },
    ),
    **_all(
        _OTHERS,
        {
            "stream/plain.py paused_stream": (1, 1),
            "stream/plain.py stream_of": (1, 1),
            "stdio/server.py ProgramExit.signals.received": (1, 1),
            "stream/descriptors.py DescriptorChannel.send": (2, 1),
            "stream/descriptors.py LoopWriter.write": (1, 0),
            "stream/descriptors.py ThreadReader.read": (1, 1),
            "stream/descriptors.py WaitReader.read": (2, 1),
            "stream/descriptors.py WaitWriter.write": (1, 0),
            "stdio/server.py StdioServerLink._watch_errors": (1, 1),
        },
    ),
    **_all(
        _RARE,
        {
            "stream/plain.py accept_waiting": (2, 1),
            "client/core.py ClientCore._renew": (1, 1),
            "client/listen.py Listening.part": (2, 2),
            "client/listen.py Listening.reopen": (2, 1),
            "http/client/adapter.py AdaptedClient._converse": (5, 1),
            "serve/endpoint.py HttpEndpoint.aclose": (3, 1),
            "server/lifespan.py _hold": (1, 1),
            "memory.py MemoryLink._receive": (2, 1),
            "memory.py WireLink._send": (1, 1),
            "stream/connection.py StreamConnection._write_out": (1, 1),
            "server/input_rounds.py ask_client.receive": (2, 1),
            "server/tasks/tasks.py ServerTasks._follow": (1, 1),
            "sockets/unix.py _lock": (1, 1),
            "websocket/link.py WebSocketLink._receive": (4, 2),
        },
    ),
    **_all(
        _EMBEDDED,
        {
            "client/core.py ClientCore.open_stream": (2, 1),
            "serve/asgi.py AsgiApp.prepare": (1, 1),
            "server/context.py Context.report_progress": (1, 1),
            "serve/endpoint.py HttpCall.__anext__": (1, 1),
            "running/pending.py Handlers.idle": (1, 1),
            "server/runtime.py ServerRuntime.idle": (1, 1),
            "serve/workers.py Lifeline.supervisor_gone": (1, 1),
        },
    ),
    **_all(_REGISTRIES, {"client/registry.py": (3, 3), "commands/registry.py": (1, 1)}),
    **_all(_STORED_TASKS, {"server/tasks/stored.py": (27, 27)}),
    **_all(_OBSERVING, {"telemetry/sessions.py": (1, 1)}),
    **_all(_WSGI, {"serve/wsgi.py": (2, 2)}),
}
