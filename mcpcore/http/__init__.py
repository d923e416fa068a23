"""HTTP server and client state machines without sockets, for all revisions of MCP."""
