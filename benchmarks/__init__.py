"""What our engine costs, measured beside others in one run."""
