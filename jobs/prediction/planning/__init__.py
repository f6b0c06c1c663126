"""What a run will do, known before it begins."""
