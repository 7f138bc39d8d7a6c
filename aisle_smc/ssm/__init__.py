"""State-space models: describe one, filter it, fit it."""
