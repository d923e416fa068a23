"""anyio drivers around the sans-IO core, the runtime of servers and clients, and the command.

Start with :func:`mcpcore_transports.client.client.connect`,
:func:`mcpcore_transports.serve.serve.serve` and
:class:`mcpcore_transports.server.context.Context`.  Nothing is imported here: each transport costs
only those who use it.
"""
