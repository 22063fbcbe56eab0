"""Wiring: the only place that builds objects. A hub is opened, started, run, and closed in the reverse order."""

from vidhub.app.hub import App
from vidhub.app.run import administer, serve

__all__ = ["App", "administer", "serve"]
