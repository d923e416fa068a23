"""The functions of ``transports`` in which no story comes to every place that waits, and why.

With each stands how many such places it has: whoever adds one has to look whether that is reached.
"""

from collections.abc import Mapping

from msgspec import Struct


class Excuse(Struct, frozen=True):
    """Of one function."""

    waits: int
    """How many places it has that wait, reached or not."""
    why: str


def _all(why: str, functions: Mapping[str, int]) -> dict[str, Excuse]:
    return {name: Excuse(waits, why) for name, waits in functions.items()}


_FAILING = "it waits where something has failed: runs with failures come to it"
_COMMANDS = "the command line: what it does is what clients and servers of other rows do"
_OTHERS = "it is for other platforms, and for descriptors that cannot be watched"
_RARE = "a turn that depends on timing, on full buffers or on what another program sends"
_EMBEDDED = "for who embeds the library, and has tests of its own"

WHY: dict[str, Excuse] = {
    **_all(
        _FAILING,
        {
            "client_listen.py Listening._open_stream": 2,
            "client_listen.py Listening._subscribe": 2,
            "client_open.py Opening.open": 4,
            "http_listening.py ListeningHost.serve": 3,
            "http_origin.py Origin._tunnel": 3,
            "http_origin.py _secure": 2,
            "http_pool.py PooledConnection._carry_out": 5,
            "http_server.py HttpServerLink._accept": 3,
            "http_server.py HttpServerLink._let_in": 1,
            "process.py ProcessLink._end_of_input": 2,
            "process.py ProcessLink._exited": 2,
            "process.py ProcessLink._watch": 2,
            "socket_client.py SocketClientLink._connect_tcp": 3,
            "socket_client.py SocketClientLink._connect_unix": 2,
            "socket_client.py _drop": 1,
            "socket_server.py SocketServer._accept_from": 2,
            "sockets.py StreamServerLink._close": 2,
            "store_link.py StoreLink._listen": 2,
            "tasks_follower.py Follower._fetch": 2,
            "unbegun.py Unbegun.__aexit__": 1,
            "websocket_asgi.py AsgiWebSocketLink._close": 1,
            "websocket_opening.py open_websocket": 4,
            "websocket_server.py listen_websocket.accept_from": 2,
            "asgi.py AsgiApp._websocket": 5,
            "websocket_asgi.py AsgiWebSockets._converse": 4,
            "workers.py Supervisor._await_ready": 2,
            "asgi.py AsgiApp._http": 9,
        },
    ),
    **_all(
        _COMMANDS,
        {
            "commands/call.py call.talk": 3,
            "commands/listing.py list_offers.talk": 1,
            "commands/probe.py _probe.talk": 2,
            "commands/probe.py _revisions": 1,
            "commands/probe.py _round_trip": 2,
            "commands/target.py _converse": 2,
            "commands/workers.py _until_signalled": 2,
            "commands/workers.py _until_signalled.watch": 1,
            "server.py _until_signalled.watch": 2,
            "stdio.py StdioServerLink._watch_signals": 1,
        },
    ),
    **_all(
        _OTHERS,
        {
            "accepting.py paused_stream": 1,
            "accepting.py stream_of": 1,
            "departure.py _bytes_of": 1,
            "descriptors.py DescriptorLink._send": 2,
            "descriptors.py ThreadReader.read": 1,
            "descriptors.py WaitReader.read": 2,
            "direct.py DirectLink._send": 2,
            "held_up.py SeizableLink._send": 2,
            "stdio.py StdioServerLink._watch_errors": 1,
            "socket_client.py _UnixStream.send_eof": 1,
        },
    ),
    **_all(
        _RARE,
        {
            "client.py Client.call_tool": 4,
            "client_answers.py answer_inputs": 2,
            "client_conversation.py ClientConversation._renew": 1,
            "client_listen.py Listening.part": 2,
            "client_listen.py Listening.reopen": 2,
            "client_requests.py ClientRequests._all": 2,
            "context_telling.py Telling.room": 1,
            "http_adapter.py AdaptedClientLink._converse": 5,
            "http_connection.py ServerConnection._drain": 2,
            "http_connection.py ServerConnection._half_closed": 5,
            "http_connection.py ServerConnection._watch": 4,
            "http_pool.py PooledConnection._converse": 5,
            "http_pool.py PooledConnection._inflate": 1,
            "http_pool.py PooledConnection._read": 4,
            "http_protocol_stream.py ProtocolStream._room": 1,
            "http_protocol_stream.py ProtocolStream.send": 3,
            "http_server.py HttpServerLink._secured": 1,
            "http_server.py HttpServerLink._turn_away": 3,
            "memory.py MemoryLink._receive": 2,
            "memory.py WireLink._send": 1,
            "outgoing.py Outgoing.drained": 2,
            "plain_stream.py PlainStream.send": 3,
            "process.py ProcessLink._bury": 4,
            "questions.py WireQuestions._receive": 3,
            "socket_client.py _UnixStream.send": 2,
            "socket_server.py SocketServer._turn_away": 1,
            "sockets.py PlainServerLink._linger": 1,
            "stdio.py StdioServerLink._wait_for_room": 2,
            "tasks_server.py ServerTasks._follow": 1,
            "unix_sockets.py _lock": 1,
            "websocket.py WebSocketLink._receive": 3,
            "workers.py Supervisor._end": 2,
        },
    ),
    **_all(
        _EMBEDDED,
        {
            "http_call.py HttpCall.__anext__": 1,
            "http_endpoint.py HttpEndpoint.prepare": 1,
            "http_host.py HttpHost._run": 7,
            "running.py Handlers.idle": 1,
            "runtime.py ServerRuntime.idle": 1,
            "websocket_server.py serve_websocket": 1,
            "workers.py Lifeline.supervisor_gone": 1,
        },
    ),
}
