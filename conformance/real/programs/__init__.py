"""Clients of other libraries; each runs in the environment that its library is installed in."""
