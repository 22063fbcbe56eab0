"""Pages with lists and forms, as the people of each role open them."""

from __future__ import annotations

import os
from pathlib import Path

from playwright.async_api import Locator, Page, expect
from support.console import Console, violations
from support.hub import PASSWORD, HubProcess

# Where the guides' pictures are written anew, as in `PICTURES=docs/images pytest tests/e2e`.
PICTURES = os.environ.get("PICTURES")
# Pages look again every few seconds, and the machine may be busy.
PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)


class OfficePage:
    """One browser; `enter` logs in as somebody of a role, with a name of their own."""

    people = 0

    def __init__(self, page: Page, hub: HubProcess) -> None:
        self.page = page
        self.hub = hub
        self.console = Console(page)

    async def enter(self, role: str, name: str, unit_id: str = "") -> str:
        """Logs in as somebody new and opens the page; gives their login."""
        OfficePage.people += 1
        login = f"{role}{OfficePage.people}"
        await self.hub.ask(
            "user_add", name=login, roles=[role], password=PASSWORD, unit_id=unit_id, display_name="李主任"
        )
        await self.console.open()
        await self.console.type_login(login)
        await self.page.get_by_test_id(f"page-{name}").click()
        return login

    async def leave(self) -> None:
        await self.page.get_by_test_id("logout").click()
        await self.page.get_by_test_id("login").wait_for()

    def row(self, key: str) -> Locator:
        return self.page.locator(f'[data-row="{key}"]')

    async def tidy(self) -> None:
        """axe finds nothing in the page as it is, in either language."""
        for _ in range(2):
            found = await violations(self.page)
            assert found == [], found
            await self.page.get_by_test_id("language").evaluate("(button) => button.click()")

    async def picture(self, name: str) -> None:
        """For the guides, when they are asked for."""
        if PICTURES:
            await self.page.screenshot(path=Path(PICTURES) / f"{name}.png")
