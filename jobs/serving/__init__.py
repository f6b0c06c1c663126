"""``serve``: single queries and small batches answered over HTTP, as a run would answer them."""
