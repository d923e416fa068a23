"""Settings of a relay."""

from msgspec import Struct

from mcpcore.relay.names import Naming
from mcpcore.spec.bounds import check_numbers


class RelaySettings(Struct, frozen=True, kw_only=True):
    """Settings of a relay. Times in seconds.  Raises ValueError for a number out of range."""

    naming: Naming | None = None
    """Naming of tools, prompts and resources; None: ALWAYS for several servers, else NEVER."""
    names: int = 100_000
    """Maximum names of items in lists that are remembered, where names do not tell their server, an
    equal share of each server; as many that were in results alone, of which the last used are
    kept."""
    pages: int = 100
    """Maximum pages of a server's list that are read to find names."""
    tasks: int = 10_000
    """Maximum ids of tasks that are remembered, for the lists and notices of tasks."""
    call_timeout: float = 3600.0
    """Maximum time for an answer of a server to a call, all attempts and questions included."""
    list_timeout: float = 10.0
    """Maximum time for the page of one server in a merged list, and for a subscription."""
    list_ttl: float = 0.0
    """Time for which the list of a server without caching hints is kept, and may be by modern
    clients, unless the server announces a change.  Zero: not at all."""
    list_bytes: int = 1 << 24
    """Maximum size of all lists that are kept."""
    unknown_apart: float = 1.0
    """Minimum time between two readings of all lists for names of one principal that no server has;
    meanwhile unknown names are refused at once."""
    changes_apart: float = 0.1
    """Minimum time between two notices of a changed list to one client; later ones are one."""
    grace: float = 60.0
    """Time for which a server that is away still has its last list among those of others, and for
    which names that are never prefixed wait for a list that is not known."""
    question_timeout: float = 600.0
    """Maximum time for the answer of a client to a question."""
    sign_in_wait: float = 30.0
    """Maximum time for which a call waits for the sign-in of a user who has opened the URL."""
    parked: int = 1000
    """Maximum calls that wait for the retry of a modern client; as many retries may wait at other
    workers of a store, and as many outcomes are kept for repeated retries."""
    parked_per_principal: int = 100
    """Maximum of each of these of one principal, or else session, connection or address."""
    parked_timeout: float = 600.0
    """Maximum time that such a call waits."""
    outcome_kept: float = 60.0
    """Time for which a repeated retry gets the outcome of the first one."""
    repeats: int = 8
    """Maximum repeated retries that wait for the same outcome."""
    worker_silence: float = 15.0
    """Time without a sign of another worker of a store after which a retry ends that waits there
    or came from there."""
    queued: int = 1 << 26
    """Bytes that wait for a server or client that does not read, over anything but HTTP; beyond
    these it gets no calls from the other side, and no notifications."""
    links: int = 1000
    """Maximum conversations with one server."""
    links_per_principal: int = 10
    """Maximum conversations of one principal with one server, apart from those of its sessions; for
    one more, with other capabilities of its client, the least recently used one is closed."""
    listens_per_principal: int = 50
    """Maximum listen streams of the clients of one principal, or else session, connection or
    address, at one modern server, apart from those in conversations of its sessions: there are
    several for different capabilities of its clients, and for what does not fit on one."""
    link_idle: float = 300.0
    """Time after which an unused conversation is closed; one of an open session is kept."""
    listen_delay: float = 1.0
    """Delay before a lost stream of changes is opened again; doubled for each failure."""

    def __post_init__(self) -> None:
        spacing = "changes_apart", "unknown_apart"
        check_numbers(self, "parked", "repeats", "list_ttl", "list_bytes", *spacing, "grace")
