"""Programs written with the official Python SDK, each for the environment of its line.

They import the SDK and the drivers that all libraries share, nothing else of this project; none of
our packages is installed where they run.
"""
