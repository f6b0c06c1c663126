"""The main job, ``lvm-batch run``: from settings to committed predictions."""
