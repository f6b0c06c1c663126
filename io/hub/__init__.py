"""Datasets of the Hugging Face Hub, which are repositories of git: read over HTTP, at one commit."""
