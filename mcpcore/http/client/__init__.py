"""Client side of HTTP: one conversation with one URL."""
