"""``train``: makes a folder with a model, its card and its history from a dataset."""
