"""Every type of every revision: one Struct each, the superset, in modules by theme."""
