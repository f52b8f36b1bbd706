"""Combinators: blocks made of other blocks."""
