"""What an account may be: its name, its roles, its unit; and who administers."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from vidhub.errors import InvalidArgument, PermissionDenied
from vidhub.model import Principal, PrincipalKind, Role

MAX_NAME = 64
MAX_DEPARTMENT = 128
_SIGNS = frozenset("._-")
# Separation of duties: who runs the hub sees no video, approves nothing and audits nobody; who approves does not audit.
_EXCLUSIVE = (
    frozenset({Role.ADMINISTRATOR, Role.OPERATOR}),
    frozenset({Role.ADMINISTRATOR, Role.APPROVER}),
    frozenset({Role.ADMINISTRATOR, Role.AUDITOR}),
    frozenset({Role.APPROVER, Role.AUDITOR}),
)
_LOOK_UP = frozenset({Role.ADMINISTRATOR, Role.APPROVER, Role.SUPERVISOR, Role.AUDITOR})


def check_name(name: str) -> str:
    """The name in its one form. Raises InvalidArgument NAME_INVALID."""
    kept = unicodedata.normalize("NFC", name)
    if not 0 < len(kept) <= MAX_NAME or not all(_allowed(c) for c in kept) or kept[0] in _SIGNS:
        raise InvalidArgument(
            "NAME_INVALID",
            f"a user's name is 1 to {MAX_NAME} letters (Latin or Chinese), digits, dot, underscore or hyphen, "
            "and begins with a letter or digit",
        )
    return kept


def display(text: str, name: str) -> str:
    """The name as people write it; the account's own where none is given."""
    return " ".join(text.split())[:MAX_NAME] or name


def check_roles(roles: Iterable[Role], unit_id: str) -> frozenset[Role]:
    """Raises InvalidArgument ROLE_MISSING, ROLES_EXCLUDE or UNIT_MISSING."""
    given = frozenset(roles)
    if not given:
        raise InvalidArgument("ROLE_MISSING", f"give a role: {', '.join(Role)}")
    for pair in _EXCLUSIVE:
        if pair <= given:
            words = " and ".join(sorted(pair))
            raise InvalidArgument("ROLES_EXCLUDE", f"one person cannot be {words}: make two accounts")
    if Role.UNIT in given and not unit_id:
        raise InvalidArgument("UNIT_MISSING", "the role unit wants the id of a unit: see `vidhub unit list`")
    return given


def may_look_up(principal: Principal) -> bool:
    """Whether they may see who has an account and which units there are: grants and records name both."""
    return principal.kind is PrincipalKind.SYSTEM or bool(_LOOK_UP & principal.roles)


def require_administrator(principal: Principal) -> None:
    """Raises PermissionDenied ROLE_MISSING. The hub itself (`system`: its command line) may too."""
    if principal.kind is not PrincipalKind.SYSTEM and Role.ADMINISTRATOR not in principal.roles:
        raise PermissionDenied("ROLE_MISSING", "this is for administrators")


def _allowed(c: str) -> bool:
    ascii_ok = c.isascii() and (c.isalnum() or c in _SIGNS)
    return ascii_ok or "\u4e00" <= c <= "\u9fff" or "\u3400" <= c <= "\u4dbf"
