"""Engine for one conversation, client or server, without I/O."""

from mcpcore.engine.config import DEFAULT_TIMEOUT, Config, HeaderParams, Limits, Negotiation, Role
from mcpcore.engine.events import MAIN, EndReason, Event, Fault, FaultKind, Key, Route
from mcpcore.engine.input_rounds import InputRequest
from mcpcore.engine.mirror import Mirror
from mcpcore.engine.peer import Peer
from mcpcore.engine.state import Endpoint
from mcpcore.engine.transmit import FrameKind, Transmit

__all__ = [
    "DEFAULT_TIMEOUT",
    "MAIN",
    "Config",
    "EndReason",
    "Endpoint",
    "Event",
    "Fault",
    "FaultKind",
    "FrameKind",
    "HeaderParams",
    "InputRequest",
    "Key",
    "Limits",
    "Mirror",
    "Negotiation",
    "Peer",
    "Role",
    "Route",
    "Transmit",
]
