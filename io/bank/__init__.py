"""Banks of known vectors."""
