"""``mcpcore conformance``: the kit on the command line.  Needs the extra ``cli``."""
