"""``--history`` and ``monitor``: past runs kept, and rules evaluated over them."""
