"""The models of a job: finding, checking and loading them."""
