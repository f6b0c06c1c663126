"""``models``: what a registry holds, and how a role passes from one model to another."""
