"""Relay between clients and servers of either era, without I/O: start with ``relay.Relay``."""
