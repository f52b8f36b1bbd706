"""Strategies of our own: each file has one that makes a `propose(history, rng)` for a search; `nasforge.search.strategies` names them."""
