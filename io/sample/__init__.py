"""Sample vectors, installed as ``lvm_batch.io.sample``; README.md beside this file says where they come from.

A package, though it holds no code: ``importlib.resources`` then finds the files in editable installs too.
"""
