"""State tables of an HTTP/1.1 connection without I/O, one for each role.

A pair that is not in a table is a mistake of the driver.  The diagrams in
``docs/reference/protocol.md`` are generated from these tables.
"""

from mcpcore.engine.lifecycle import State, Table


class Http1State(State):
    """States of a connection, of either role."""

    OPENING = "opening"
    """Before the connection, or its TLS, is established."""
    IDLE = "idle"
    """Client: between two exchanges."""
    HEAD = "head"
    """Server: between two requests, or within the head of one.  Client: the head of the response
    is awaited."""
    HELD = "held"
    """Server: the head of a request is complete; the application decides what follows."""
    BODY = "body"
    """A body is being received."""
    REPLY = "reply"
    """Server: the request is complete, its reply is not."""
    SWITCHED = "switched"
    """Server: another protocol has taken the connection, or is offered it."""
    LINGERING = "lingering"
    """Server: the last reply is made; further input is counted and dropped."""
    CLOSING = "closing"
    """Server: the last bytes are being sent."""
    CLOSED = "closed"


class Http1Signal(State):
    """Signals that move a connection."""

    CONNECT = "connection wanted"
    ESTABLISHED = "connection established"
    SEND = "request to be sent"
    HEAD = "head received"
    WHOLE = "whole request received"
    ADMIT = "body wanted"
    ANSWER = "request complete, or its rest not wanted"
    REPLIED = "reply complete"
    SWITCH = "offered to another protocol"
    DECLINE = "not taken"
    RECEIVED = "response complete, another may follow"
    FINISH = "last reply or refusal made"
    CLOSE = "end of input, nothing to reply"
    STOP = "lost, overdue, given up or not to be kept"


_S, _G = Http1State, Http1Signal

SERVER: Table[Http1State, Http1Signal] = {
    (_S.OPENING, _G.ESTABLISHED): _S.HEAD,
    (_S.HEAD, _G.HEAD): _S.HELD,
    (_S.HEAD, _G.FINISH): _S.LINGERING,
    (_S.HELD, _G.ADMIT): _S.BODY,
    (_S.HELD, _G.WHOLE): _S.REPLY,
    (_S.HELD, _G.ANSWER): _S.REPLY,
    (_S.HELD, _G.SWITCH): _S.SWITCHED,
    (_S.HELD, _G.FINISH): _S.LINGERING,
    (_S.BODY, _G.ANSWER): _S.REPLY,
    (_S.BODY, _G.FINISH): _S.LINGERING,
    (_S.REPLY, _G.REPLIED): _S.HEAD,
    (_S.REPLY, _G.FINISH): _S.LINGERING,
    (_S.SWITCHED, _G.DECLINE): _S.HELD,
    **{(state, _G.CLOSE): _S.CLOSING for state in _S if state not in (_S.IDLE, _S.CLOSED)},
    (_S.CLOSED, _G.CLOSE): _S.CLOSED,
    **{(state, _G.STOP): _S.CLOSED for state in _S if state is not _S.IDLE},
}

CLIENT: Table[Http1State, Http1Signal] = {
    (_S.CLOSED, _G.CONNECT): _S.OPENING,
    (_S.OPENING, _G.ESTABLISHED): _S.IDLE,
    (_S.IDLE, _G.SEND): _S.HEAD,
    (_S.HEAD, _G.HEAD): _S.BODY,
    (_S.BODY, _G.RECEIVED): _S.IDLE,
    **{(state, _G.STOP): _S.CLOSED for state in (_S.CLOSED, _S.OPENING, _S.IDLE, _S.HEAD, _S.BODY)},
}

DIAGRAMS = (
    ("HTTP/1.1 server", "One connection of an HTTP server.", SERVER),
    ("HTTP/1.1 client", "One connection of an HTTP client.", CLIENT),
)
"""Title, text and table of each diagram."""
