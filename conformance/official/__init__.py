"""The official conformance suite, run against our reference programs.

``python -m conformance.official`` needs the tools that ``make ci-tools`` installs.
"""
