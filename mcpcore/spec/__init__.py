"""Protocol as data: revisions, methods, errors, capabilities and types; no behaviour."""
