"""Blocks that read sequences."""
