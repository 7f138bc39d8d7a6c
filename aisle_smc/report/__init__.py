"""Reports: a posterior as one page that a person would rather look at than read."""

from aisle_smc.report.judgement import Finding, headline, judge
from aisle_smc.report.page import About, report, write_report
from aisle_smc.report.pictures import Picture, draw_pictures

__all__ = [
    "About",
    "Finding",
    "Picture",
    "draw_pictures",
    "headline",
    "judge",
    "report",
    "write_report",
]
