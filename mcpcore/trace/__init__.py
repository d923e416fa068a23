"""Traces: the traffic of connections in a file, its format and the redaction of secrets."""
