"""States of a client's authorization, as one table.

A pair that is not in it is a mistake of the application.
"""

from mcpcore.engine.lifecycle import State, Table


class AuthState(State):
    """States of an authorization."""

    IDLE = "idle"
    LOADING = "loading"
    LOCKING = "locking"
    REFRESHING = "refreshing"
    DISCOVERING_RESOURCE = "discovering the resource"
    DISCOVERING_ISSUER = "discovering the issuer"
    REGISTERING = "registering"
    WAITING_FOR_USER = "waiting for the user"
    REQUESTING_TOKEN = "requesting a token"  # noqa: S105 - the name of a state
    SAVING = "saving"
    READY = "ready"
    FAILED = "failed"


class AuthSignal(State):
    """Signals that move an authorization."""

    LOAD = "load"
    NOTHING = "nothing usable stored"
    FRESH = "usable token stored"
    REFUSED = "request refused, or token expiring"
    REFRESH = "refresh"
    AUTHORIZE = "authorize"
    RESOURCE = "resource known"
    ISSUER = "issuer known"
    ASK = "ask the user"
    REQUEST = "grant at hand"
    TOKEN = "token received"  # noqa: S105 - the name of a signal
    SAVED = "saved"
    FAIL = "failed"


_S, _G = AuthState, AuthSignal
_FLOWING = (
    _S.LOADING,
    _S.LOCKING,
    _S.REFRESHING,
    _S.DISCOVERING_RESOURCE,
    _S.DISCOVERING_ISSUER,
    _S.REGISTERING,
    _S.WAITING_FOR_USER,
    _S.REQUESTING_TOKEN,
    _S.SAVING,
)

AUTHORIZATION: Table[AuthState, AuthSignal] = {
    (_S.IDLE, _G.LOAD): _S.LOADING,
    (_S.LOADING, _G.NOTHING): _S.IDLE,
    (_S.LOADING, _G.FRESH): _S.READY,
    **{(state, _G.REFUSED): _S.LOCKING for state in (_S.IDLE, _S.READY, _S.FAILED)},
    (_S.LOCKING, _G.FRESH): _S.READY,
    (_S.LOCKING, _G.REFRESH): _S.REFRESHING,
    (_S.LOCKING, _G.AUTHORIZE): _S.DISCOVERING_RESOURCE,
    (_S.REFRESHING, _G.TOKEN): _S.SAVING,
    (_S.REFRESHING, _G.AUTHORIZE): _S.DISCOVERING_RESOURCE,
    (_S.DISCOVERING_RESOURCE, _G.RESOURCE): _S.DISCOVERING_ISSUER,
    (_S.DISCOVERING_ISSUER, _G.ISSUER): _S.REGISTERING,
    (_S.REGISTERING, _G.ASK): _S.WAITING_FOR_USER,
    (_S.REGISTERING, _G.REQUEST): _S.REQUESTING_TOKEN,
    (_S.WAITING_FOR_USER, _G.REQUEST): _S.REQUESTING_TOKEN,
    (_S.REQUESTING_TOKEN, _G.TOKEN): _S.SAVING,
    (_S.SAVING, _G.SAVED): _S.READY,
    **{(state, _G.FAIL): _S.FAILED for state in _FLOWING},
}

DIAGRAMS = (("Authorization of a client", "One client at one protected server.", AUTHORIZATION),)
"""State tables of this package, for docs/reference/protocol.md."""
