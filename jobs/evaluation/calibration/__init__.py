"""Calibration of the thresholds of routing."""
