"""The load generator: a process of its own, sockets and pipes without a framework, ready bytes.

``python -m mcpcore_bench.load JOB`` runs one :class:`~mcpcore_bench.load.jobs.Job` (JSON), the
server that it names included, and prints a :class:`~mcpcore_bench.method.samples.Sample`.
"""
