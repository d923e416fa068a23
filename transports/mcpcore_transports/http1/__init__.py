"""HTTP/1.1 messages as bytes (RFC 9112)."""
