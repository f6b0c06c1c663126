"""Nearest neighbours in a bank."""
