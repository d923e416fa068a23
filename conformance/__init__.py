"""Conformance: reference programs, the official suite, and the demonstration."""
