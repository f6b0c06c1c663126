"""Models by name, and the roles of models."""
