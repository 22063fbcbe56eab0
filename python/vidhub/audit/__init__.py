"""The register of use: append-only, chained by hashes, signed at checkpoints. What it means: `chain.py`."""

from vidhub.audit.log import AuditLog, AuditPage
from vidhub.audit.search import Search
from vidhub.audit.verify import Verdict

__all__ = ["AuditLog", "AuditPage", "Search", "Verdict"]
