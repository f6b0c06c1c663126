"""The settings of a run that a benchmark takes.

The rule: what is not named here has its default, whatever the environment or a file says of it.
"""

TAKEN = ("model", "fallback", "models_dir", "bank", "precision", "workers")
"""The options of ``bench``, in the order of its help."""
