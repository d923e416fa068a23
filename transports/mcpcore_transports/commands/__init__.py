"""The sub-commands of the `mcpcore` command."""
