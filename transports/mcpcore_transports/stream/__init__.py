"""Byte streams with one JSON-RPC message per line: the connection loop and what it reads from."""
