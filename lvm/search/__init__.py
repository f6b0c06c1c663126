"""Search for the nearest vectors of a bank."""
