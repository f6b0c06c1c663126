"""``evaluate``: compares models and baselines on a dataset, and calibrates thresholds."""
