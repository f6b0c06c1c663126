"""Predictions for rows, and the choice of the model that answers each row."""
