"""Releases: a model with its fallback, its bank's digest and its thresholds, as one folder that ``run`` takes."""
