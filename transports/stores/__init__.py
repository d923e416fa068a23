"""Stores for the sessions and event streams that several workers serve together.

:func:`transports.stores.open.open_store` makes a store from a URL; docs/how-to/stores.md compares
them.  Nothing is imported here, so that an application pays only for the store that it uses.
"""
