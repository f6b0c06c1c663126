"""The models of a job: found, checked, loaded."""
