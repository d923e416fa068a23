"""Policies for requests: rate limits, retries, circuit breaker, balancing and health of servers.

Pure: no clock, randomness, sockets or files.  Each policy is an object of its own: the time is
passed in as ``now`` (seconds of a clock that never goes back), randomness as a seed.
"""

EVENTS = 1000
"""Maximum events that a policy keeps for its ``next_event``; the oldest are dropped first."""
