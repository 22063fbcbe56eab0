"""What the hub keeps: one SQLite file behind one writer. One module per noun; see `tables.py` for the shape."""

from vidhub.store.secrets import Secrets
from vidhub.store.store import Store
from vidhub.store.writer import Participant

__all__ = ["Participant", "Secrets", "Store"]
