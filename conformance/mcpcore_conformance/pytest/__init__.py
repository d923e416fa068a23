"""A pytest plugin: the cases that apply to a server or a client become tests."""
