"""Small programs that are measured: ours, those of others, and raw limits.

Each serves the same tools (:mod:`mcpcore_bench.programs.offer`) and says ``listening on URL`` on
standard error once it does; or it measures itself and prints what it found, as JSON.
"""
