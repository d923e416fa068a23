"""The reference programs: a server that offers every feature, and a client that uses them.

``python -m mcpcore_conformance.everything.server`` and ``python -m
mcpcore_conformance.everything.client URL``.
"""
