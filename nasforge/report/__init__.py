"""The report of a run: one HTML page, and the same in words, from the study alone."""

from nasforge.report.page import report
from nasforge.report.run import Run, collect
from nasforge.report.text import words

__all__ = ["Run", "collect", "report", "words"]
