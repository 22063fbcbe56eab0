"""Events of a whole hub, as somebody logged in reads them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from support.hub import PATIENCE_S, Person


async def event(keeper: Person, kind: str, is_so: Callable[[dict[str, Any]], bool] = bool) -> dict[str, Any]:
    """The newest event of the kind that is so, as soon as there is one."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            page = await keeper.call("EventService/ListEvents", filter={"kinds": [kind]})
            assert "code" not in page, page
            for one in page.get("events", ()):
                if is_so(one):
                    return dict(one)
            await asyncio.sleep(0.1)


def lasts(one: dict[str, Any]) -> bool:
    return "endTime" not in one


def is_over(one: dict[str, Any]) -> bool:
    return "endTime" in one
