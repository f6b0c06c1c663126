"""Fast forms of models on a CPU."""
