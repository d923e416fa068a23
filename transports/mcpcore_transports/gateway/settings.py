"""Settings of a gateway."""

from msgspec import Struct, field

from mcpcore.policy.breaker import BreakerSettings
from mcpcore.policy.retrying import RetrySettings
from mcpcore.relay.settings import RelaySettings
from mcpcore.spec.bounds import check_numbers
from mcpcore.spec.types.base import Implementation
from mcpcore_transports.client.core import ClientSettings

_INFO = Implementation(name="mcpcore-gateway", version="0.1.0")


class GatewaySettings(Struct, frozen=True, kw_only=True):
    """Settings of a gateway.  Times are in seconds.  Raises ValueError for one out of range."""

    relay: RelaySettings = field(default_factory=RelaySettings)
    client: ClientSettings = field(default_factory=lambda: ClientSettings(info=_INFO))
    """Settings of the conversations with servers."""
    retry: RetrySettings | None = field(default_factory=RetrySettings)
    """Retries of requests that may be carried out twice; None: none is retried."""
    breaker: BreakerSettings | None = field(default_factory=BreakerSettings)
    """Circuit breaker of each server; None: there is none."""
    start_time: float = 10.0
    """Maximum time for all servers to tell their era before clients are let in.

    A server that is later is tried again in the background.
    """
    processes: int = 100
    """Maximum processes of servers that are started as commands, of all of them together."""
    processes_per_server: int = 50
    """Maximum processes of one such server."""
    starting: int = 4
    """Maximum processes that are being started at a time; others wait."""
    first_delay: float = 0.5
    """Minimum time between the failure of a server and its next start; doubled for each failure in
    a row."""
    max_delay: float = 30.0
    """Limit of that growth."""
    lasting: float = 10.0
    """Time that a conversation must have lasted for failures to be counted anew."""
    close_time: float = 5.0
    """Maximum time for the end of the conversations with servers, after the last client's."""

    def __post_init__(self) -> None:
        check_numbers(self, "first_delay", "max_delay", "lasting", "close_time")
