"""What a run has shown: tables, Markdown, plots."""
