"""Arrow, Parquet and file systems: datasets in, predictions out, and the commit protocol between.

The rule: this room knows how bytes become rows and rows become files. It knows neither torch nor Dask, nor what a
model does with a row. Its modules are imported by name; nothing is imported here.
"""
