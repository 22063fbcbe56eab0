"""The log: events with fields, one a line on stderr (stdout carries answers). No ticket, token or password gets in."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog

_SECRET_KEYS = re.compile(r"password|passwd|secret|ticket|token|authorization|cookie|private|key_pem", re.IGNORECASE)
# A JWT, wherever it stands; credentials inside an address; a ticket in a query.
_SECRET_TEXTS = (
    (re.compile(r"eyJ[\w-]{5,}\.[\w-]+\.[\w-]+"), "…"),
    (re.compile(r"(\w+://)[^/\s@]+@"), r"\1…@"),
    (re.compile(r"([?&](?:ticket|token)=)[^&\s\"']+"), r"\1…"),
)


def configure(level: int = logging.INFO) -> None:
    """Sends our log and that of the libraries to stderr. Programs call it once, before anything logs."""
    structlog.configure(
        processors=_PROCESSORS,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Plain("timestamp=%(asctime)s level=%(levelname)s logger=%(name)s event=%(message)r"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.WARNING))


def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Takes secrets out by the name of their field and by their shape."""
    for key, value in event.items():
        if _SECRET_KEYS.search(key):
            event[key] = "…"
        elif isinstance(value, str):
            event[key] = clean(value)
    return event


def clean(text: str) -> str:
    for pattern, replacement in _SECRET_TEXTS:
        text = pattern.sub(replacement, text)
    return text


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return clean(super().format(record)).replace("\n", "\\n")


# One list for good: loggers keep the one they began with, and who looks on (`structlog.testing`) changes it in place.
_PROCESSORS: list[structlog.typing.Processor] = [
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
    redact,
    structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], bool_as_flag=False),
]
