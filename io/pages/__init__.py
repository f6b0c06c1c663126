"""Parquet pages of vectors, read without Arrow's levels: bytes to arrays."""
