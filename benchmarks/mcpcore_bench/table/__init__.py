"""Rows of the benchmark, by theme."""
