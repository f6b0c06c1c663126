"""The main job, from settings to committed predictions: plan, cluster, worker, unit, summary."""
