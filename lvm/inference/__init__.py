"""Predictions of rows, and the choice of the model that answers each."""
