"""One module a command of ``lvm-batch``.

The rule: a module here can be imported without torch, Dask, numpy or pyarrow; what a command needs of them it
imports when it runs. A command does not know how its options are declared or how its result is printed.
"""
