"""Where a run's workers are: on this machine, with a scheduler, or on a cluster that the run starts for itself."""
