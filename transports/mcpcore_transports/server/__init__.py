"""The runtime of a server: its handlers, their context, their errors."""
