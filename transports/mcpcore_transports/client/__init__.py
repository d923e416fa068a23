"""The client: calls, callbacks, reconnection, configuration files."""
