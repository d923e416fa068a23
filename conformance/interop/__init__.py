"""Interoperation: our programs and those of the official Python SDK, feature by feature."""
