"""The fronts: how soon they show something."""
