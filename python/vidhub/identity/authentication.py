"""The one place where an edge learns who calls."""

from __future__ import annotations

from vidhub.identity.people import People
from vidhub.identity.units import Units
from vidhub.model import Principal


class Authentication:
    """Both ways raise Unauthenticated with a stable reason."""

    def __init__(self, people: People, units: Units) -> None:
        self._people = people
        self._units = units

    async def by_bearer(self, token: str, address: str) -> Principal:
        """Who holds this access token; no read of the store."""
        return self._people.logins.by_bearer(token, address)

    def by_certificate(self, pem: bytes, address: str) -> Principal:
        """Who holds this client certificate; no read of the store."""
        return self._units.by_certificate(pem, address)
