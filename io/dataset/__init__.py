"""Datasets: their files, columns and work units, read as contexts."""
