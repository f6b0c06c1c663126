"""Fast forms of models, and the choice of the form that computes on a device."""
