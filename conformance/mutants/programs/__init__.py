"""Servers with one thing broken that a fault cannot show: what a process does."""
