"""Comparison of two jobs."""
