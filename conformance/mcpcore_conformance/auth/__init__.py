"""Development authorization server: every grant that MCP clients use, on loopback only."""
