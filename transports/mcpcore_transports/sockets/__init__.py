"""TCP and Unix sockets, one JSON-RPC message per line."""
