"""The commands of ``lvm-batch``, a module for each.

The rule: a module here imports neither torch, Dask, numpy nor pyarrow; a command imports what it needs when it runs.
"""
