"""Models by name, and the roles that they hold."""
