"""A hub that runs, or one that is opened for a moment: what only its own parts know, beside its files."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from vidhub.config import Config
from vidhub.core import Core
from vidhub.doctor import addresses, camera, certificates, clock, ports
from vidhub.doctor.files import examine_files
from vidhub.identity import Units
from vidhub.identity.units import UnitFilter
from vidhub.link.doctor import Doctor
from vidhub.link.probe import Hop, to_dict
from vidhub.model import Principal
from vidhub.store import Store

_FULL = 2


class HubDoctor:
    """Operation `examine` of the command line."""

    def __init__(
        self,
        config: Config,
        *,
        principal: Principal,
        store: Store,
        units: Units,
        core: Core,
        links: Doctor,
        bound: Callable[[], Mapping[str, object]],
        told: Callable[[], tuple[str, Mapping[str, str]]],
        names: set[str],
    ) -> None:
        """bound: each listener's address and "pid", empty while the hub does not run. told: the public URL and
        HOST:PORT by listener, as clients are told. names: what the hub's own certificate must name."""
        self._config = config
        self._principal = principal
        self._store = store
        self._units = units
        self._core = core
        self._links = links
        self._bound = bound
        self._told = told
        self._names = names
        self._began, self._began_monotonic = datetime.now(UTC), time.monotonic()

    async def examine(self, hub: str, camera_id: str) -> dict[str, Any]:
        """hub: the link with that hub alone, id or name; camera_id: that camera alone; neither: everything but cameras.

        Raises NotFound HUB_NOT_FOUND or CAMERA_NOT_FOUND.
        """
        found = []
        if camera_id:
            found += await camera.checks(self._core, self._principal, camera_id)
        if hub or not camera_id:
            everything = [] if hub else await self._house()
            found += everything + await self._links.examine(hub)
        return {"checks": [to_dict(check) for check in found]}

    async def _house(self) -> list[Hop]:
        parts = await asyncio.gather(
            asyncio.to_thread(examine_files, self._config),
            self._durable(),
            asyncio.to_thread(self._outside),
            self._certificates(),
        )
        return [check for part in parts for check in part]

    def _outside(self) -> list[Hop]:
        bound = self._bound()
        if not bound:
            return ports.of_stopped(self._config.listen)
        public_url, told = self._told()
        return [
            clock.jump(self._began, self._began_monotonic),
            *ports.of_running(bound, int(str(bound["pid"]))),
            *addresses.checks(public_url, told),
        ]

    async def _durable(self) -> list[Hop]:
        mode = await self._store.read(lambda conn: conn.exec_driver_sql("PRAGMA synchronous").scalar_one())
        if mode != _FULL:
            return [Hop("store.synchronous", "STORE_NOT_DURABLE", f"synchronous is {mode}", "restart the hub")]
        return [Hop("store.synchronous", "", "FULL: what is answered is durable")]

    async def _certificates(self) -> list[Hop]:
        enrolled = await self._units.all_units(self._principal, UnitFilter(state="enrolled"))
        register = self._units.register
        # Also an end that lies behind: that is what a doctor is for.
        ends = [(f"{seen.unit.name} ({seen.unit.id})", register.newest("unit", seen.unit.id)) for seen in enrolled]
        own = await asyncio.to_thread(certificates.own, self._config, self._names)
        return [*own, certificates.of_units(ends)]
