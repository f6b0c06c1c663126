"""``bench``: how fast this machine is at the job."""
