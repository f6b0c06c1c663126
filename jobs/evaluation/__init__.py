"""``evaluate``: models judged on a dataset beside baselines, and thresholds calibrated."""
