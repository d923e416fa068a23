"""Stores: where several workers keep the sessions and event streams that they serve together.

:func:`transports.stores.open.open_store` makes one from a URL; docs/stores.md says which is for
what.  Nothing is imported here: each store costs only those who use it.
"""
