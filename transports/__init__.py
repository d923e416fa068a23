"""anyio drivers around the sans-IO core, the runtime of servers and clients, and the command.

Start with :func:`transports.client.connect`, :func:`transports.server.serve` and
:class:`transports.context.Context`.  Nothing is imported here: each transport costs only those who
use it.
"""
