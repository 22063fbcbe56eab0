"""Commands on the data directory: through the running hub's admin socket, or on the store itself when none runs."""

from __future__ import annotations

from typing import Any

from vidhub.cli.report import Settings


def call(settings: Settings, operation: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Does one operation of `AdminOperations`, recorded as `system`. Raises the hub's own errors."""
    # The whole hub takes a second to import: only for commands that want it.
    import vidhub.app

    return vidhub.app.administer(settings.load(), operation, arguments)
