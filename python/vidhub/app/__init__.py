"""Wiring: the only place that builds objects. A hub is opened, started, run, and closed in the reverse order."""

from vidhub.app.hub import App
from vidhub.app.run import administer, examine, serve

__all__ = ["App", "administer", "examine", "serve"]
