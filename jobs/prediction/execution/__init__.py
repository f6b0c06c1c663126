"""Units, run on workers."""
