"""Processes, and what the machine grants them."""
