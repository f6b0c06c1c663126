"""Articles as runs of rows: where one begins, goes on elsewhere, or is out of order."""
