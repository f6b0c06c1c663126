"""The five architectures, and a catalog of them by name."""
