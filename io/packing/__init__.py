"""Rows of vectors from anywhere, written as Parquet that a run reads fast."""
