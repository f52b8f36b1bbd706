"""Blocks that read images."""
