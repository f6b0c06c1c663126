"""Measures of predictions: cosines, ranks, calibration, thresholds."""
