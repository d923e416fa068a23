"""What came of a run, for programs, for pipelines and for people."""
