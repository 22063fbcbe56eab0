"""What is wrong with a hub, and what to do about it: each module looks at one thing, and tells it check by check."""

from vidhub.doctor.files import examine_files
from vidhub.doctor.hub import HubDoctor

__all__ = ["HubDoctor", "examine_files"]
