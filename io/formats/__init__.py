"""The files that hold rows: Parquet, NPZ and NPY."""
