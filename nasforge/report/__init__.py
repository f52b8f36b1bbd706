"""The report of a run: one HTML page, and the same in words, from the study alone."""

from nasforge.report.collect import Run, collect
from nasforge.report.page import report
from nasforge.report.words import words

__all__ = ["Run", "collect", "report", "words"]
