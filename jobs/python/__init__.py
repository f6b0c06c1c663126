"""The commands as functions: what ``lvm_batch.run`` and its siblings are made of.

The rule: a function does what its command does, with the same settings by the same names. It returns its result and
raises its errors in place of printing them and exiting.
"""
