"""Datasets as commands take them up: described, sampled, packed, read whole."""
