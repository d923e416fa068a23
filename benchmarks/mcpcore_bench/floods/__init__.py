"""Floods against a server, and the honest client beside them."""
