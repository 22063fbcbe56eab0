"""What we claim, measured: `python -m benches.run` (`make bench`) runs whole hubs beside the floor of the same run."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# A hub in a process of its own is started here as in the tests.
sys.path[:0] = [path for path in (str(ROOT / "tests"), str(ROOT / "python")) if path not in sys.path]
