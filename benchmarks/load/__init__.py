"""The load generator: a process of its own, sockets and pipes without a framework, ready bytes.

``python -m benchmarks.load JOB`` runs one :class:`~benchmarks.load.jobs.Job` (JSON), the server
that it names included, and prints a :class:`~benchmarks.method.samples.Sample`.
"""
