"""Vectors as columns hold them."""
