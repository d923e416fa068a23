"""Drivers of Streamable HTTP and HTTP+SSE."""
