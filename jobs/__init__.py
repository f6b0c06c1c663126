"""Joins models and files into jobs: settings, plans, workers, progress, and the ``lvm-batch`` command.

The rule: this room decides what runs where and in what order, and nothing else. It does not know how a page
is decoded (that is ``lvm_batch.io``) or how a gate is computed (that is ``lvm_batch.lvm``).
"""
