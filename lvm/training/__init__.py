"""Training of models, and the ridge regression that they start from."""
