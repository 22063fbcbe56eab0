"""What happened: events of the core, handed to the parts of the hub that listen."""

from vidhub.events.fanout import Fanout

__all__ = ["Fanout"]
