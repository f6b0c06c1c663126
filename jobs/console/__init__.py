"""What the command prints, and the code that it exits with."""
