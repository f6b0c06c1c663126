"""The settings of the commands, and where they come from."""
