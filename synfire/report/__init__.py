"""The HTML page that commands write: one file, no outside resource, readable on a phone."""

from synfire.report.page import write_report
from synfire.report.schema import Results

__all__ = ["Results", "write_report"]
