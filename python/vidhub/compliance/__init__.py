"""What is connected, online, complete, overdue: the figures of Articles 5 and 34, for reports and metrics alike."""

from vidhub.compliance.figures import RECORD_STATES, UNIT_STATES, Compliance, Report, UnitRow
from vidhub.compliance.tally import TERM, Row

__all__ = ["RECORD_STATES", "TERM", "UNIT_STATES", "Compliance", "Report", "Row", "UnitRow"]
