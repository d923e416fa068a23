"""Stores for the sessions and event streams that several workers serve together."""
