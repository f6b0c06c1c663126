"""The settings of a run that a benchmark takes.

The rule: every other setting keeps its default, whatever the environment or a file says.
"""

TAKEN = ("model", "fallback", "models_dir", "bank", "precision", "workers")
"""The options of ``bench``, in the order of its help."""
