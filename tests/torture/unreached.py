"""Functions of ``transports`` with places that wait and no story comes to, with reasons.

With each stands how many such places it has, and how many of them may stay without a visit: whoever
adds one has to look whether that is reached, and none is lost unseen.
"""

from collections.abc import Mapping

from msgspec import Struct


class Excuse(Struct, frozen=True):
    """Of one function."""

    waits: int
    """How many places it has that wait, reached or not."""
    missed: int
    """To how many of them stories need not come."""
    why: str


def _all(why: str, functions: Mapping[str, tuple[int, int]]) -> dict[str, Excuse]:
    return {name: Excuse(*counts, why) for name, counts in functions.items()}


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
            "gateway/gateway.py Gateway.run": (4, 4),
            "serve/serve.py serve.offer_all": (1, 1),
            "gateway/middleware.py SurroundedRuntime._run": (1, 1),
            "gateway/middleware.py SurroundedRuntime.answer": (1, 1),
            "gateway/middleware.py _Relayed.call": (1, 1),
            "gateway/route.py GatewayRoute._find": (3, 3),
            "gateway/route.py GatewayRoute._probe": (1, 1),
            "gateway/route.py GatewayRoute._supervise": (1, 1),
            "gateway/route.py GatewayRoute.known": (1, 1),
            "gateway/route.py GatewayRuntime._begin_later": (1, 1),
            "gateway/route.py GatewayRuntime.run": (2, 2),
            "auth/authorizer.py Authorizer.challenges": (1, 1),
            "gateway/sign_in.py Account.ask": (1, 1),
            "gateway/sign_in.py Account.refused": (1, 1),
            "gateway/sign_in.py Account.sign_in": (2, 2),
            "gateway/sign_in.py ServerDesk.load": (1, 1),
            "gateway/sign_in.py SignInDesk._carry": (2, 2),
            "gateway/sign_in.py SignInDesk._identified": (3, 3),
            "gateway/sign_in.py SignInDesk._loaded": (2, 2),
            "gateway/sign_in.py _OpenSignIn.ask": (1, 1),
            "gateway/sign_in.py _Tokens.load": (1, 1),
            "gateway/sign_in.py _Tokens.save": (2, 2),
            "gateway/subjects.py Subjects._later": (1, 1),
            "gateway/upstreams.py Conversation.close": (1, 1),
            "gateway/upstreams.py Conversation._share_start": (1, 1),
            "gateway/upstreams.py Conversation._prepare": (1, 1),
            "gateway/upstreams.py Conversation.run": (3, 3),
            "gateway/upstreams.py ServerBehind._token": (1, 1),
            "gateway/upstreams.py _ServedHere.aclose": (1, 1),
            "gateway/upstreams.py _ServedHere.run": (3, 3),
            "serve/serve.py Bindings.open_http": (2, 1),
            "serve/serve.py serve": (3, 1),
        },
    ),
    **_all(
        _OTHER_SDKS,
        {
            "adapters/sdk1.py Sdk1.answer": (1, 1),
            "adapters/sdk1.py Sdk1.hear": (1, 1),
            "adapters/sdk1.py _session_class.DirectSession.send_request": (1, 1),
            "adapters/sdk2.py Sdk2.answer": (3, 3),
            "adapters/sdk2.py Sdk2._compare": (1, 1),
            "adapters/sdk2.py Sdk2.hear": (2, 2),
            "adapters/sdk2.py _Dispatch.send_raw_request": (1, 1),
            "adapters/server.py AdaptedServer.listener.hear": (1, 1),
            "adapters/sdk2.py Sdk2.ask": (1, 1),
            "adapters/sdk2.py _SdkOutbound.send_raw_request": (1, 1),
            "adapters/server.py ask": (2, 2),
        },
    ),
    **_all(
        _SEVERAL,
        {
            "client/managed.py ManagedConnection._converse": (3, 3),
            "client/managed.py ManagedConnection._observe": (2, 2),
            "client/managed.py ManagedConnection._run": (2, 2),
            "client/managed.py ManagedConnection._share_start": (1, 1),
            "client/managed.py ManagedConnection._watch": (2, 2),
            "client/managed.py ManagedConnection.opened": (1, 1),
            "client/servers.py Servers.__aenter__": (1, 1),
            "client/servers.py Servers.__aexit__": (1, 1),
            "client/servers.py Servers._attempt": (2, 2),
            "client/servers.py Servers._list": (1, 1),
            "client/servers.py Servers._list.fetch": (1, 1),
            "client/servers.py Servers._merged": (1, 1),
            "client/servers.py Servers._merged.collect": (1, 1),
            "client/servers.py Servers._owner": (1, 1),
            "client/servers.py Servers._routed": (2, 2),
            "client/servers.py Servers.call_tool": (2, 2),
            "client/servers.py Servers.call_tool.send": (1, 1),
            "client/servers.py Servers.client": (1, 1),
            "client/servers.py Servers.complete": (3, 3),
            "client/servers.py Servers.complete.send": (1, 1),
            "client/servers.py Servers.get_prompt": (2, 2),
            "client/servers.py Servers.get_prompt.send": (1, 1),
            "client/servers.py Servers.prompts": (1, 1),
            "client/servers.py Servers.get_skill": (2, 2),
            "client/servers.py Servers.get_skill.send": (1, 1),
            "client/servers.py Servers.load_skill": (1, 1),
            "client/servers.py Servers.skills": (1, 1),
            "client/servers.py Servers.read_resource": (2, 2),
            "client/servers.py Servers.read_resource.send": (1, 1),
            "client/servers.py Servers.resource_templates": (1, 1),
            "client/servers.py Servers.resources": (1, 1),
            "client/servers.py Servers.tools": (1, 1),
        },
    ),
    **_all(
        _POLICIES,
        {
            "client/policies.py break_circuit.guarded": (1, 1),
            "client/policies.py retry_requests.retried": (3, 3),
            "client/callbacks.py Callbacks.answer.later": (2, 2),
            "server/rate_limits.py Throttle._check_later": (1, 1),
            "server/answering.py Answering._begin_later": (2, 2),
            "stores/redis_rates.py RedisRateLimits._ask": (2, 2),
        },
    ),
    **_all(
        _GUARDING,
        {
            "client/client.py connect.__aenter__": (3, 2),
            "client/guarding.py ServerTrust.__call__": (3, 3),
            "client/guarding.py ServerTrust._admit": (1, 1),
            "client/guarding.py ServerTrust._passed": (1, 1),
            "client/guarding.py ServerTrust._read": (1, 1),
            "client/guarding.py ServerTrust.attach": (1, 1),
            "client/pins.py read_description": (4, 4),
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
            **{
                f"auth/resource_server.py ResourceServer.{name}": (1, 1)
                for name in ("_carry_out", "_fetch_keys", "_introspect", "_later", "_run", "_used")
            },
            "auth/resource_server.py ResourceServer._fetched": (2, 2),
            "auth/resource_server.py _Flight.wait": (1, 1),
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
            "auth/authorizer.py Authorizer._carry_out": (2, 2),
            "auth/authorizer.py Authorizer._in_turn": (1, 1),
            "auth/authorizer.py Authorizer._outcome": (2, 2),
            "auth/authorizer.py Authorizer._run": (3, 3),
            "auth/authorizer.py Authorizer.headers": (2, 2),
            "auth/authorizer.py Authorizer.prepare": (1, 1),
            "auth/authorizer.py Authorizer.refused": (2, 2),
            "auth/authorizer.py Authorizer.token": (3, 3),
            "auth/browser.py BrowserSignIn.ask": (2, 2),
            "auth/browser.py BrowserSignIn.ask.open_it": (1, 1),
            "auth/browser.py PastedSignIn._pasted": (1, 1),
            "auth/browser.py PastedSignIn._ask": (2, 2),
            "auth/browser.py PastedSignIn._ask.receive": (1, 1),
            "auth/browser.py PastedSignIn.ask": (2, 2),
            "auth/browser.py read_line": (2, 2),
            "auth/callback.py CallbackListener._accept": (2, 2),
            "auth/callback.py CallbackListener._accept.let_in": (1, 1),
            "auth/callback.py CallbackListener._serve": (4, 4),
            "auth/callback.py CallbackListener.wait": (2, 2),
            "auth/callback.py _bind": (1, 1),
            "auth/callback.py _head": (1, 1),
            "auth/callback.py _reply": (2, 2),
            "auth/callback.py listen": (2, 2),
            "auth/carrying.py FlowCarrier._ask": (1, 1),
            "auth/carrying.py FlowCarrier._carry_out": (9, 9),
            "auth/carrying.py FlowCarrier._listen": (1, 1),
            "auth/carrying.py FlowCarrier.aclose": (2, 2),
            "auth/carrying.py FlowCarrier.carry_out": (1, 1),
            "auth/carrying.py FlowCarrier.run": (2, 2),
            "auth/carrying.py FlowCarrier._sign": (1, 1),
            "auth/exchange.py UpstreamTokens._get": (1, 1),
            "auth/exchange.py UpstreamTokens.headers": (1, 1),
            "auth/exchange.py UpstreamTokens.token": (2, 2),
            "auth/fetching.py Fetcher._connect": (4, 4),
            "auth/fetching.py Fetcher._exchange": (3, 3),
            "auth/fetching.py Fetcher._fetch": (3, 3),
            "auth/fetching.py Fetcher._resolve": (1, 1),
            "auth/fetching.py Fetcher.fetch": (1, 1),
            "auth/file_store.py FileTokens.entries": (1, 1),
            "auth/file_store.py FileTokens.load": (1, 1),
            "auth/file_store.py FileTokens._take": (1, 1),
            "auth/file_store.py FileTokens.take": (1, 1),
            "auth/file_store.py FileTokens._lock": (1, 1),
            "auth/file_store.py FileTokens.save": (2, 2),
            "auth/keyring_store.py KeyringTokens.load": (1, 1),
            "auth/keyring_store.py KeyringTokens.save": (2, 2),
            "http/client/authorization.py AuthorizedExchanges._authorize": (1, 1),
            "http/client/authorization.py AuthorizedExchanges.headers": (2, 2),
            "http/client/authorization.py GivenTokens._token": (1, 1),
            "http/client/authorization.py GivenTokens.prepare": (1, 1),
            "http/client/authorization.py GivenTokens.headers": (1, 1),
            "http/client/authorization.py GivenTokens.refused": (1, 1),
            "http/client/authorization.py authorized": (3, 3),
            "auth/stores.py MemoryTokens.lock": (1, 1),
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
            "commands/auth.py _Anew.load": (1, 1),
            "commands/auth.py _challenge": (1, 1),
            "commands/auth.py _kept": (1, 1),
            "commands/auth.py _login": (6, 6),
            "commands/auth.py _refuses": (1, 1),
            "commands/auth.py _logout": (2, 2),
            "commands/client.py _compare": (1, 1),
            "commands/client.py call.talk": (4, 4),
            "commands/examination.py Examination._challenged": (1, 1),
            "commands/examination.py Examination._list": (1, 1),
            "commands/examination.py Examination.dns": (1, 1),
            "commands/examination.py Examination.era": (3, 3),
            "commands/examination.py Examination.http": (2, 2),
            "commands/examination.py Examination.run": (1, 1),
            "commands/examination.py Examination.tcp": (2, 2),
            "commands/examination.py Examination.tls": (2, 2),
            "commands/processes.py _Developing._end": (3, 3),
            "commands/processes.py _Developing._start": (1, 1),
            "commands/processes.py _Developing._watch": (2, 2),
            "commands/processes.py _Developing.run": (3, 3),
            "commands/processes.py _until_signalled": (2, 2),
            "commands/processes.py _until_signalled.watch": (1, 1),
            "commands/client.py list_offers.talk": (2, 2),
            "commands/client.py probe.talk": (1, 1),
            "commands/pins.py warn_of_changes": (1, 1),
            "commands/client.py _round_trip": (2, 2),
            "commands/client.py _spoken": (2, 2),
            "commands/target.py interruptible.main": (2, 2),
            "commands/target.py interruptible.watch": (1, 1),
            "commands/target.py _auth": (1, 1),
            "commands/target.py _converse": (3, 3),
            "commands/tokens.py as_kept": (1, 1),
            "commands/tokens.py kept_tokens": (1, 1),
            "commands/target.py connection": (1, 1),
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
    **_all(
        _REGISTRIES,
        {
            "client/registry.py Registry._get": (1, 1),
            "client/registry.py Registry.search": (1, 1),
            "client/registry.py Registry.version": (1, 1),
            "commands/registry.py _asked": (1, 1),
        },
    ),
    **_all(
        _STORED_TASKS,
        {
            "server/tasks/stored.py StoredDesk._cancel_stored": (3, 3),
            "server/tasks/stored.py StoredDesk._get_stored": (1, 1),
            "server/tasks/stored.py StoredDesk._list_stored": (1, 1),
            "server/tasks/stored.py StoredDesk._listen": (2, 2),
            "server/tasks/stored.py StoredDesk._named": (1, 1),
            "server/tasks/stored.py StoredDesk._reply": (1, 1),
            "server/tasks/stored.py StoredDesk._result_stored": (2, 2),
            "server/tasks/stored.py StoredDesk._stored": (1, 1),
            "server/tasks/stored.py StoredDesk._update_stored": (2, 2),
            "server/tasks/stored.py StoredTaskHost._ask": (1, 1),
            "server/tasks/stored.py StoredTaskHost._serve_link": (2, 2),
            "server/tasks/stored.py StoredTaskHost._tell": (1, 1),
            "server/tasks/stored.py StoredTaskHost.answer_stored": (1, 1),
            "server/tasks/stored.py StoredTaskHost.cancel_stored": (2, 2),
            "server/tasks/stored.py StoredTaskHost.find_stored": (1, 1),
            "server/tasks/stored.py StoredTaskHost.look_up": (2, 2),
            "server/tasks/stored.py StoredTaskHost.page_stored": (2, 2),
            "server/tasks/stored.py TaskNews.take": (1, 1),
        },
    ),
    **_all(
        _OBSERVING,
        {
            "telemetry/sessions.py _ObservedRuntime.run": (1, 1),
        },
    ),
    **_all(
        _WSGI,
        {
            "serve/wsgi.py WsgiApp._open": (2, 2),
        },
    ),
}
