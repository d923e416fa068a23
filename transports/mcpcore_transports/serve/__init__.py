"""Serving on several bindings, in one process or many."""
