"""Runners: they carry jobs to where they are evaluated and bring back what happens there. They know nothing of strategies."""
