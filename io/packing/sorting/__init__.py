"""Rows of any order, sorted into whole articles, on disk where they do not fit into memory."""
