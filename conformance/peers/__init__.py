"""What the kit finds in programs of others: run, held against what was read, written down."""
