"""Running cases: which of them apply, side by side, on any binding, and what came of them."""
