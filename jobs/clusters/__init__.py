"""Clusters that a run starts for itself, and what client and workers must have in common."""
