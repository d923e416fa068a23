"""`mcpcore diff`: two servers, files or traces beside each other."""
