"""Configuration files with named servers, such as ``mcp.json``."""
