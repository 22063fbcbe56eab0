"""SQLite as we want it on every connection, its failures in our words, and the migrations."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any, Literal

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, DBAPIError
from sqlalchemy.pool import QueuePool

from vidhub.errors import FailedPrecondition, Internal, InvalidArgument, Unavailable, VidhubError
from vidhub.store.tables import metadata

_SYNCHRONOUS_FULL = 2


def database_path(url: str) -> Path:
    """The file behind sqlite:///PATH. Raises InvalidArgument STORE_URL for what this release cannot open."""
    try:
        parsed = make_url(url)
    except ArgumentError as cause:
        raise InvalidArgument("STORE_URL", "store_url is no URL: write sqlite:///PATH") from cause
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        raise InvalidArgument("STORE_URL", f"{parsed.get_backend_name()} is not supported: write sqlite:///PATH")
    return Path(parsed.database)


def make_engine(path: Path, *, mode: Literal["write", "read"], connections: int, busy_timeout_s: float) -> Engine:
    """An engine whose transactions begin at once: writers take the lock first, readers see one state throughout."""
    engine = create_engine(
        f"sqlite:///{path}",
        poolclass=QueuePool,
        pool_size=connections,
        max_overflow=0,
        hide_parameters=True,  # values of a failed statement stay out of messages and logs
        # One connection wanders between threads of the pool, never used by two at once.
        connect_args={"check_same_thread": False, "timeout": busy_timeout_s, "cached_statements": 256},
    )

    @event.listens_for(engine, "connect")
    def on_connect(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # we begin ourselves: the driver's own rules break savepoints
        if mode == "write" and connection.execute("PRAGMA journal_mode=WAL").fetchone() != ("wal",):
            raise Unavailable(
                "STORE_UNAVAILABLE", f"{path} cannot use write-ahead logging: put the data directory on a local disk"
            )
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA cache_size=-16384")
        if mode == "read":
            connection.execute("PRAGMA query_only=ON")
        if connection.execute("PRAGMA synchronous").fetchone() != (_SYNCHRONOUS_FULL,):
            raise Internal("STORE_NOT_DURABLE", "SQLite refuses synchronous=FULL: an answer would not mean durable")

    @event.listens_for(engine, "begin")
    def on_begin(conn: Connection) -> None:
        conn.exec_driver_sql("BEGIN IMMEDIATE" if mode == "write" else "BEGIN")

    return engine


def create_file(path: Path) -> None:
    """Make the database file, for its owner alone; the side files of SQLite take over its mode."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as cause:
        raise Unavailable(
            "STORE_UNAVAILABLE", f"{path}: {cause.strerror}: check the path, its owner and the disk"
        ) from cause


def migrate(engine: Engine) -> None:
    """Bring the schema up to this release, in one transaction.

    Raises FailedPrecondition STORE_NEWER, Unavailable STORE_CORRUPT (also where a table is gone) or STORE_UNAVAILABLE.
    """
    config = migrations()
    try:
        with engine.begin() as conn:
            config.attributes["connection"] = conn
            command.upgrade(config, "head")
            there = {name for (name,) in conn.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except CommandError as cause:
        raise FailedPrecondition(
            "STORE_NEWER", "the database was written by a newer release: start that one, or restore a copy"
        ) from cause
    except DatabaseError as cause:
        raise translated(cause) from cause
    gone = sorted(metadata.tables.keys() - there)
    if gone:
        raise Unavailable(
            "STORE_CORRUPT",
            f"the database lacks {', '.join(gone)}, taken away by somebody: keep it as a proof, restore a copy",
        )


def known_schemas() -> list[str]:
    """The schemas that this release knows, newest first."""
    return [script.revision for script in ScriptDirectory.from_config(migrations()).walk_revisions()]


def migrations() -> Config:
    """The chain of schemas, for alembic."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    return config


def is_environmental(error: BaseException) -> bool:
    """True when the disk, a lock or the file is at fault, not the statement."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, sqlite3.IntegrityError | sqlite3.ProgrammingError | sqlite3.InterfaceError):
        return False
    if isinstance(cause, sqlite3.OperationalError):
        # A statement that names what does not exist is our fault; it carries the plain code SQLITE_ERROR.
        return _primary_code(cause) != sqlite3.SQLITE_ERROR
    return isinstance(cause, sqlite3.DatabaseError) and _primary_code(cause) in (
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    )


def translated(error: BaseException) -> BaseException:
    """What a caller may be told of a failure of the store; errors of our own pass."""
    if isinstance(error, VidhubError):
        return error
    if not is_environmental(error):
        return error
    cause: Any = error.orig if isinstance(error, DBAPIError) else error
    code = _primary_code(cause)
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return Unavailable("STORE_CORRUPT", "the database file is damaged: stop the hub and restore a copy")
    remedy = {
        sqlite3.SQLITE_FULL: "the disk is full: free some space",
        sqlite3.SQLITE_BUSY: "another program holds the database: end it",
        sqlite3.SQLITE_LOCKED: "another program holds the database: end it",
        sqlite3.SQLITE_READONLY: "the database may not be written: check its owner and mode",
        sqlite3.SQLITE_CANTOPEN: "the database cannot be opened: check the path, its owner and mode",
        sqlite3.SQLITE_IOERR: "the disk fails: check it",
    }.get(code, "the database does not answer: see the log of the hub")
    if getattr(cause, "sqlite_errorcode", 0) == sqlite3.SQLITE_IOERR_SHMSIZE:
        # No room for the index of the write-ahead log: SQLite says no more than that input or output failed.
        remedy = "the disk is full: free some space"
    return Unavailable("STORE_UNAVAILABLE", f"{remedy}, then try again")


def describe(error: BaseException) -> str:
    """What went wrong, for the log: no statement, no value."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    name = getattr(cause, "sqlite_errorname", "")
    return f"{type(cause).__name__} {name}".strip()


def _primary_code(error: object) -> int:
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)) & 0xFF
