"""``inspect``: what a dataset holds, what a run would make of it, and which commands come next."""
