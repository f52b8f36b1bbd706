"""Strategies: what is asked next, schedulers: what is trained on. Pure functions of what a search has seen."""
