"""Which columns of a dataset play which part, by their types, their measured widths and the names people use."""
