"""Engine for one conversation, client or server, without I/O."""

from mcpcore.engine.config import ANY_EXTENSION as ANY_EXTENSION
from mcpcore.engine.config import DEFAULT_TIMEOUT as DEFAULT_TIMEOUT
from mcpcore.engine.config import Config as Config
from mcpcore.engine.config import HeaderParams as HeaderParams
from mcpcore.engine.config import Limits as Limits
from mcpcore.engine.config import Negotiation as Negotiation
from mcpcore.engine.config import Role as Role
from mcpcore.engine.events import MAIN as MAIN
from mcpcore.engine.events import EndReason as EndReason
from mcpcore.engine.events import Event as Event
from mcpcore.engine.events import Fault as Fault
from mcpcore.engine.events import FaultKind as FaultKind
from mcpcore.engine.events import Key as Key
from mcpcore.engine.events import Route as Route
from mcpcore.engine.input_rounds import InputRequest as InputRequest
from mcpcore.engine.mirror import Mirror as Mirror
from mcpcore.engine.peer import Peer as Peer
from mcpcore.engine.state import Endpoint as Endpoint
from mcpcore.engine.transmit import FrameKind as FrameKind
from mcpcore.engine.transmit import Transmit as Transmit

__all__ = sorted(name for name in globals() if name[0].isupper())
