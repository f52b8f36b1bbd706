"""Architectures as torch networks: built, probed on meta, counted."""
