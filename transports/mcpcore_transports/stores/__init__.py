"""Stores for the sessions and event streams that several workers serve together.

:func:`mcpcore_transports.stores.base.open_store` makes a store from a URL; docs/stores.md compares
them. Nothing is imported here, so that an application pays only for the store that it uses.
"""
