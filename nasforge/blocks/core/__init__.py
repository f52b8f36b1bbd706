"""Layers that every family uses."""
