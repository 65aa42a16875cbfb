"""A simulated week of one person's use and of a small team's, with `gpu:wake` at each value."""
