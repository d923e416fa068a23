"""Telemetry of servers and clients: spans, metrics and logs."""
