"""``train``: from a dataset to a folder that holds a model, its card and its history."""
