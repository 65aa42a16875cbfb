"""A simulated month of money, minute by minute: what is really spent, and what the guards know."""
