"""Conformance: reference programs, the official suite, interoperation, and the demonstration."""
