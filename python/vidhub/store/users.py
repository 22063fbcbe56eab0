"""Accounts of people and their logins. What a password or token is worth is decided in `identity`, not here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from vidhub.model import Role, User
from vidhub.store.times import from_us, from_us_or_none, to_us, to_us_or_none

_MAX_USED = 512

_COLUMNS = (
    "id, name, display_name, department, unit_id, roles, suspended, must_change_password, create_time, "
    "password_expire_time, login_time"
)
_LOGIN = "id, user_id, expire_time, create_time, source_address, client"


@dataclass(frozen=True, slots=True)
class Login:
    """A family of refresh tokens. source_address: where it was begun. client: what the program there calls itself."""

    id: str
    user_id: str
    expire_time: datetime
    create_time: datetime
    source_address: str = ""
    client: str = ""


def insert(conn: Connection, user: User, password_hash: str) -> None:
    conn.exec_driver_sql(
        f"INSERT INTO users ({_COLUMNS}, password_hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            user.id,
            user.name,
            user.display_name,
            user.department,
            user.unit_id,
            json.dumps(sorted(user.roles)),
            user.suspended,
            user.must_change_password,
            to_us(user.create_time),
            to_us_or_none(user.password_expire_time),
            to_us_or_none(user.login_time),
            password_hash,
        ),
    )


def load(conn: Connection) -> list[User]:
    return [_user(r) for r in conn.exec_driver_sql(f"SELECT {_COLUMNS} FROM users ORDER BY name")]


def by_name(conn: Connection, name: str) -> User | None:
    row = conn.exec_driver_sql(f"SELECT {_COLUMNS} FROM users WHERE name = ?", (name,)).first()
    return None if row is None else _user(row)


def get(conn: Connection, user_id: str) -> User | None:
    row = conn.exec_driver_sql(f"SELECT {_COLUMNS} FROM users WHERE id = ?", (user_id,)).first()
    return None if row is None else _user(row)


def password_hash(conn: Connection, user_id: str) -> str:
    row = conn.exec_driver_sql("SELECT password_hash FROM users WHERE id = ?", (user_id,)).first()
    return "" if row is None else str(row[0])


def set_password(
    conn: Connection, user_id: str, hashed: str, *, must_change: bool, expire_time: datetime | None = None
) -> bool:
    """expire_time: of a one-time password."""
    statement = "UPDATE users SET password_hash = ?, must_change_password = ?, password_expire_time = ? WHERE id = ?"
    return conn.exec_driver_sql(statement, (hashed, must_change, to_us_or_none(expire_time), user_id)).rowcount > 0


def update(conn: Connection, user: User) -> bool:
    """What an administrator may change: display name, department, unit and roles."""
    statement = "UPDATE users SET display_name = ?, department = ?, unit_id = ?, roles = ? WHERE id = ?"
    values = (user.display_name, user.department, user.unit_id, json.dumps(sorted(user.roles)), user.id)
    return conn.exec_driver_sql(statement, values).rowcount > 0


def set_suspended(conn: Connection, user_id: str, suspended: bool) -> bool:
    return conn.exec_driver_sql("UPDATE users SET suspended = ? WHERE id = ?", (suspended, user_id)).rowcount > 0


def insert_login(conn: Connection, login: Login) -> None:
    created = to_us(login.create_time)
    conn.exec_driver_sql(
        f"INSERT INTO logins ({_LOGIN}, revoke_reason) VALUES (?, ?, ?, ?, ?, ?, '')",
        (login.id, login.user_id, to_us(login.expire_time), created, login.source_address, login.client),
    )
    conn.exec_driver_sql("UPDATE users SET login_time = ? WHERE id = ?", (created, login.user_id))


def live_logins(conn: Connection, now: datetime) -> list[Login]:
    """Oldest first."""
    rows = conn.exec_driver_sql(
        f"SELECT {_LOGIN} FROM logins WHERE revoke_time IS NULL AND expire_time > ? ORDER BY create_time, id",
        (to_us(now),),
    )
    return [_login(r) for r in rows]


def live_login(conn: Connection, login_id: str, now: datetime) -> Login | None:
    row = conn.exec_driver_sql(
        f"SELECT {_LOGIN} FROM logins WHERE id = ? AND revoke_time IS NULL AND expire_time > ?",
        (login_id, to_us(now)),
    ).first()
    return None if row is None else _login(row)


def logins_of(conn: Connection, user_id: str, now: datetime) -> list[str]:
    """Ids of the user's live logins, oldest first."""
    rows = conn.exec_driver_sql(
        "SELECT id FROM logins WHERE user_id = ? AND revoke_time IS NULL AND expire_time > ? ORDER BY create_time, id",
        (user_id, to_us(now)),
    )
    return [str(r[0]) for r in rows]


def revoke_logins(conn: Connection, login_ids: Sequence[str], now: datetime, reason: str) -> None:
    if login_ids:
        conn.exec_driver_sql(
            "UPDATE logins SET revoke_time = ?, revoke_reason = ? WHERE id = ? AND revoke_time IS NULL",
            [(to_us(now), reason, i) for i in login_ids],
        )


def forget_logins(conn: Connection, before: datetime) -> int:
    """Drop logins that ended before then, with their tokens."""
    return conn.exec_driver_sql("DELETE FROM logins WHERE expire_time <= ?", (to_us(before),)).rowcount


def insert_refresh(conn: Connection, hashed: bytes, login_id: str) -> None:
    """Used ones are kept, to know them again, up to a bound no honest client comes near."""
    conn.exec_driver_sql("INSERT INTO refresh_tokens (hash, login_id) VALUES (?, ?)", (hashed, login_id))
    conn.exec_driver_sql(
        "DELETE FROM refresh_tokens WHERE hash IN (SELECT hash FROM refresh_tokens "
        "WHERE login_id = ? AND use_time IS NOT NULL ORDER BY use_time DESC LIMIT -1 OFFSET ?)",
        (login_id, _MAX_USED),
    )


def login_of_refresh(conn: Connection, hashed: bytes) -> str | None:
    row = conn.exec_driver_sql("SELECT login_id FROM refresh_tokens WHERE hash = ?", (hashed,)).first()
    return None if row is None else str(row[0])


def use_refresh(conn: Connection, hashed: bytes, now: datetime) -> tuple[str, bool] | None:
    """Use up a refresh token: (login id, whether this was its first use), or None for one never given."""
    row = conn.exec_driver_sql("SELECT login_id, use_time FROM refresh_tokens WHERE hash = ?", (hashed,)).first()
    if row is None:
        return None
    if row[1] is None:
        conn.exec_driver_sql("UPDATE refresh_tokens SET use_time = ? WHERE hash = ?", (to_us(now), hashed))
    return str(row[0]), row[1] is None


def _login(row: Any) -> Login:
    return Login(row[0], row[1], from_us(row[2]), from_us(row[3]), row[4], row[5])


def _user(row: Any) -> User:
    return User(
        id=row[0],
        name=row[1],
        display_name=row[2],
        department=row[3],
        unit_id=row[4],
        roles=frozenset(Role(r) for r in json.loads(row[5])),
        suspended=bool(row[6]),
        must_change_password=bool(row[7]),
        create_time=from_us(row[8]),
        password_expire_time=from_us_or_none(row[9]),
        login_time=from_us_or_none(row[10]),
    )
