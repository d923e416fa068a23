"""The reference programs: a server that offers every feature, and a client that uses them.

``python -m conformance.everything.server`` and ``python -m conformance.everything.client URL``.
"""
