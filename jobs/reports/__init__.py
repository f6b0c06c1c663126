"""``report``: one page on an output folder, or on two."""
