"""Drivers on asyncio and trio for the engine, the runtime of servers and clients, the command.

Programs import what they need from :mod:`mcpcore`: ``connect``, ``serve``, ``run``, ``Context``.
Nothing is imported here, so that each transport costs only those who use it.
"""
