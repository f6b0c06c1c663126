"""Outputs: written, committed, read and verified."""
