"""Tables and numbers that objects may hold, by class and attribute, with reason or bound."""

NUMBERED = {
    *("Deadlines._count", "Endpoint.serial", "Endpoint.last_key"),
    *("HttpServerLink._last_exchange", "SessionTable._count"),
    *(
        "ServerRuntime._unyielding",
        "StoreSteps._count",
        "StoreSteps._numbers",
        "TaskTable._count",
    ),
    *("Trace._connections", "Trace._written", "ReplicaTable._count"),
}
"""Numbers that go up with whatever comes, or stay where they are."""
REMEMBERED = {
    **dict.fromkeys(
        ("ToolEntry.encoded", "PromptEntry.encoded", "ResourceEntry.encoded"),
        "an item of a list as each revision has it",
    ),
    "Collection._pages": "a list as each revision has it",
    "Deadlines._heap": "64 that are over, and four for each that is not",
    "Dialect.keywords": "those of a dialect",
    "EventLog._order": "64 events that are gone, and four for each that is kept",
    "Gate._terms": "256 revisions and credentials",
    "HttpEndpoint._running": "an event loop, until another comes",
    "Endpoint._profiles": "8 kinds of clients",
    "LineReader._known": "1,024 lines of heads",
    "LineReader._lengths": "1,024 lengths of bodies",
    "NotificationDispatcher._queues": "the last one to be told of something",
    "Redactor._known": "256 names",
    "Redactor._labels": "256 names",
    "Redactor._present": "those of 256 names that the last text had",
    "_LifespanRun.holders": "the lifespan protocol, and its endpoint, begun by the first request",
    "RedisStore._here": "where a worker of this process reads on, whose leaving was cut off",
    "RequestParser._kinds": "1,024 kinds of heads",
    "RequestParser._known": "1,024 lines of heads",
    "RequestParser._lengths": "1,024 lengths of bodies",
    "Router._waiting": "64 that are answered while one before them waits, and four for each open",
    "mcpcore_transports.http1.format._HEADS": "256 heads of responses",
    "mcpcore_transports.http1.heads._RESPONSES": "64 heads of responses",
    "objects: trio CancelScope": "1,000 whose deadlines do not matter any more, and two for each",
    "objects: weakref ReferenceType": "of cursors that are gone a connection of SQLite has 200",
}
"""Tables of what is kept for use again, with how much of it at most."""
STORED = {
    *("TaskTable._expiries", "TaskTable._owned", "TaskTable.stored", "TaskTable._tasks"),
}
"""Tables of what is kept for its time, so that somebody may come back to it."""
SETTLED = {
    "Gate._lines": "a setting",
    "Gate._methods": "a setting",
    "Gate._versions": "a setting",
    "NoteQueue._heard": "announcements that were heard of, 1,024 at most",
    "OriginPolicy._wide": "a setting",
    "PeerState.permitted": "methods of the revision",
    "Planner._base": "a setting",
    "Planner._origin": "a setting",
    **dict.fromkeys(
        ("ResponseFields.lines", "ResponseFields.lines[]", "ResponseFields._first"),
        "the last head, which most that follow resemble",
    ),
    "Router.legacy": "a setting",
    "SessionTable._limited": "a setting",
    "ReplicaTable._limited": "a setting",
}
"""Tables of a machine that stay as they are ..."""
QUEUES = {"SessionTable._all", "ReplicaTable._all"}
"""... tables of three queues, whose contents are looked at ..."""
ENDED = {
    "Outbox.frames": "what nobody has taken when the connection ended",
    "PeerState.replaceable": "what nobody has taken when the connection ended",
    "PeerState.uris": "what a session that has ended was told of",
    "SseDecoder._blocks": "an event that came in part on the last stream of HTTP+SSE",
    "SseDecoder._data": "an event that came in part on the last stream of HTTP+SSE",
    "SseDecoder._line": "an event that came in part on the last stream of HTTP+SSE",
    "Transmit.data": "what nobody has taken",
}
"""... that a machine may have when its last connection has ended ..."""
SESSIONS = {
    "EventLog._order": "events",
    "SseSession.backlog": "what waits for a stream",
    "Session.backlog": "what waits for a stream",
    "SessionLog.entries": "events",
    "Transmit.data": "what waits for a stream",
    **dict.fromkeys(
        ("TrustPolicy.waiting", "TrustPolicy._asked", "TrustPolicy._approved"),
        "changes of a server that a person is asked about, 10,000 at most",
    ),
}
"""... and tables that grow as long as a session lasts, within limits of their own."""
MACHINES = NUMBERED | {
    *("Endpoint.capacity", "LineReader._limit", "PeerState.capacity", "SseDecoder._limit"),
    *("Chance._count", "ClientState._barren", "ClientState.epoch"),
    *("ClientState.lost_route", "ClientState._routes", "ResponseFields.announced"),
    *("Call.epoch", "Call.route", "Call.status", "PeerState.changes"),
    *("Outbox.size", "Transmit.code", "Transmit.key", "Transmit.request", "Transmit.size"),
    *("SseDecoder._size", "HttpServer._pack_from"),
}
"""Numbers of a machine that has ended: limits, counters, and what is known of the last connection
or of an event that came in part."""
MAY_GROW = {
    **REMEMBERED,
    "NoteQueue._heard": "10,000 announcements of others",
    "Profile.offered": "those of the profiles, which are counted by themselves",
    "Profile.ours": "those of the profiles",
    "Profile.theirs": "those of the profiles",
    "ResultCache._changes": "as many as there are results",
    "database: once": "1,000 announcements of each session",
    "objects: mcpcore_transports _Array": "those of 32 forms",
    "objects: mcpcore_transports _Check": "those of the tools",
    "objects: mcpcore_transports _Object": "those of 32 forms",
    "redis: all": "10,000 notes to all workers",
    "redis: held": "the sessions that each worker had, for as long as one may last",
    "redis: inbox": "10,000 notes to each worker",
    "redis: t": "4,096 streams of each session; those that are over go when room is wanted",
    "redis: u": "1,000 announcements of each session",
    "mcpcore_transports.websocket.connection._xor": "256 bytes",
}
"""The same of a process with many clients, for :func:`tests.faults.holdings.kept`."""
