"""What happened: events of the core, handed to the parts of the hub that listen; and those that people are told of."""

from vidhub.events.fanout import Fanout
from vidhub.events.log import EventLog, Facts
from vidhub.events.watching import EventDesk

__all__ = ["EventDesk", "EventLog", "Facts", "Fanout"]
