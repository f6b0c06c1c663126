"""Joins models and files into jobs: settings, plans, workers, progress, and the ``lvm-batch`` command.

The rule: this room decides what runs where and in what order, and nothing else; ``lvm_batch.io`` decodes pages, and
``lvm_batch.lvm`` computes gates.
"""
