"""The register of purposes: what a view may be for. No view without one (PIPL, Article 6; Order 799, Article 16)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from vidhub.errors import InvalidArgument
from vidhub.model import Purpose
from vidhub.store.purposes import DEFAULTS, PurposeKind

# Outside the register: with it a unit opens a session to push its own camera, without a grant.
PUBLISH = "publish"

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Purposes:
    """The register, held in memory; the store is the truth. `purpose_desk.py` changes it."""

    def __init__(self, register: Iterable[PurposeKind] = DEFAULTS) -> None:
        self._kinds: dict[str, PurposeKind] = {one.kind: one for one in register}

    def kinds(self) -> tuple[PurposeKind, ...]:
        """Those in force, in the register's order."""
        return tuple(one for one in self._kinds.values() if one.retire_time is None)

    def all(self) -> tuple[PurposeKind, ...]:
        """Those that are out of force as well."""
        return tuple(self._kinds.values())

    def get(self, kind: str) -> PurposeKind | None:
        return self._kinds.get(kind)

    def learn(self, kind: PurposeKind) -> None:
        """Takes over what became durable."""
        self._kinds[kind.kind] = kind

    def check(self, purpose: Purpose) -> Purpose:
        """The purpose, tidied.

        Raises InvalidArgument PURPOSE_MISSING, PURPOSE_UNKNOWN, PURPOSE_RETIRED, PURPOSE_REFERENCE_MISSING.
        """
        tidy = Purpose(purpose.kind.strip(), purpose.reference.strip(), purpose.note.strip())
        if not tidy.kind:
            raise InvalidArgument("PURPOSE_MISSING", f"say what the view is for: one of {self._names()}")
        for name, text, most in (("reference", tidy.reference, 128), ("note", tidy.note, 512)):
            if len(text) > most or _CONTROL.search(text):
                raise InvalidArgument(
                    "PURPOSE_TEXT_INVALID", f"purpose.{name}: at most {most} characters, and no control characters"
                )
        if tidy.kind == PUBLISH:
            return tidy
        known = self._kinds.get(tidy.kind)
        if known is None:
            raise InvalidArgument("PURPOSE_UNKNOWN", f"this hub's register of purposes has {self._names()}")
        if known.retire_time is not None:
            raise InvalidArgument("PURPOSE_RETIRED", f"{known.kind} is out of force: give one of {self._names()}")
        if known.wants_reference and not tidy.reference:
            raise InvalidArgument(
                "PURPOSE_REFERENCE_MISSING", f"{known.kind} wants a case or document number in purpose.reference"
            )
        return tidy

    def is_retired(self, kind: str) -> bool:
        known = self._kinds.get(kind)
        return known is not None and known.retire_time is not None

    def unknown(self, kinds: Iterable[str]) -> list[str]:
        """Those that are not in force; `publish` can't be granted, so it counts among them."""
        in_force = {one.kind for one in self.kinds()}
        return [kind for kind in kinds if kind not in in_force]

    def _names(self) -> str:
        return ", ".join(one.kind for one in self.kinds())
