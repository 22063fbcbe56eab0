"""A hub in one file, and back: the database as of one moment, the keys, the authority, the signed end of the register.

`archive.py` is the file's form, `take.py` makes one while the hub runs, `restore.py` makes a data directory of one.
"""

from vidhub.backup.restore import Restored, restore
from vidhub.backup.take import Taken, take

__all__ = ["Restored", "Taken", "restore", "take"]
