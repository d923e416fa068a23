"""The features, driven through a client of any library.

These modules import the standard library, anyio and each other: they run in our environment and
in those of the official SDK alike.
"""
