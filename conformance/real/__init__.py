"""Programs that people use, from npm and PyPI, against ours: one table (see ``__main__.py``)."""
