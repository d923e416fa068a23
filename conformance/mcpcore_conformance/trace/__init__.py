"""Traces of conversations: reading them, showing them, checking them, playing them again.

They are recorded by the drivers (:mod:`mcpcore_transports.tracing.tracing`) and by the conformance
kit; the format is that of :mod:`mcpcore.trace.format`.
"""

from mcpcore_conformance.trace.reading import Entry, TraceFile, read

__all__ = ["Entry", "TraceFile", "read"]
