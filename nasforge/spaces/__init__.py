"""Spaces and architectures as plain data: read, checked, drawn, located. Knows no torch."""
