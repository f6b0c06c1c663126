"""The five architectures, and those that a name stands for."""
