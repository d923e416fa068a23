"""The WebSocket binding (RFC 6455)."""
