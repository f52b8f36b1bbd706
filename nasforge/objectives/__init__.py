"""What is wanted of a network: metrics, objectives, limits, fronts. Knows no torch."""
