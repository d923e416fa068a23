"""Programs with one thing broken, to show that each case fails when it should."""
