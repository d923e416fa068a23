"""``make demo``: our programs and those of the official SDK, every pair, over every transport."""
