"""Execution: units computed on workers."""
