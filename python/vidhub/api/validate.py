"""The rules of protos/ applied to a message, in the words of our errors.

protovalidate names a broken rule ("string.max_len"); callers get a stable word for the field ("NAME_INVALID").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from google.protobuf.message import DecodeError
from protovalidate import FieldPathPb as FieldPath
from protovalidate import Validator

from vidhub.errors import InvalidArgument, Violation

if TYPE_CHECKING:
    from google.protobuf.message import Message

# Up to here every rule that is broken is told: a third of a second at the worst.
WHOLE_BYTES = 8 * 1024

_validator = Validator()

M = TypeVar("M", bound="Message")

# Where the catalogue has a word of its own for the field, the same word; see `catalogue/rules.py`.
_WORDS = {
    "region_code": ("REGION_UNKNOWN", "give the 6 digits of GB/T 2260, or of a zone"),
    "industry": ("INDUSTRY_UNKNOWN", "give the 2 digits of GB/T 28181, Annex E"),
    "place_category": ("PLACE_UNKNOWN", "take a kind of place from the list of PlaceCategory"),
    "latitude": ("LOCATION_INVALID", "latitude lies between -90 and 90 degrees"),
    "longitude": ("LOCATION_INVALID", "longitude lies between -180 and 180 degrees"),
    "profile": ("PROFILE_INVALID", "take one of the listed profiles; a camera's stream is main or sub"),
    "url": ("URL_INVALID", "an address reads rtsp://host:554/path, at most 1024 characters"),
    "signage_date": ("DATE_INVALID", "a date reads 2026-01-31 (ISO 8601)"),
    "mac": ("DEVICE_INVALID", "six pairs of hexadecimal digits, as in 00-11-22-33-44-55"),
    "ip_address": ("DEVICE_INVALID", "an IP address, as in 10.1.2.3"),
    "id": ("ID_INVALID", "an id has 20 digits (GB/T 28181)"),
    "camera_id": ("CAMERA_ID_INVALID", "an id has 20 digits (GB/T 28181)"),
    "camera_ids": ("CAMERA_ID_INVALID", "an id has 20 digits (GB/T 28181)"),
    "region_prefix": ("REGION_PREFIX_INVALID", "give up to 6 digits of GB/T 2260"),
    "region_prefixes": ("REGION_PREFIX_INVALID", "give 1 to 6 digits of GB/T 2260"),
    "industries": ("INDUSTRY_UNKNOWN", "give the 2 digits of GB/T 28181, Annex E"),
}
_PATTERN = "control characters are not allowed here"
_EMPTY = frozenset({"required", "string.min_len", "repeated.min_items"})
_TOO_MUCH = frozenset({"string.max_len", "string.max_bytes", "repeated.max_items"})


def violations(message: Message) -> tuple[Violation, ...]:
    """Every rule that the message breaks; of one over WHOLE_BYTES, larger than any record, the first."""
    if message.ByteSize() > WHOLE_BYTES:
        first = first_violation(message)
        return () if first is None else (first,)
    # Two rules of a field may have one word with us: NaN is neither finite nor within bounds.
    return tuple(
        dict.fromkeys(
            _violation(found.proto.field, found.proto.rule_id, found.proto.message)
            for found in _validator.collect_violations(message)
        )
    )


def first_violation(message: Message) -> Violation | None:
    """One rule that the message breaks. Of a large message not all are looked for: there may be one for every two
    octets, at 70 microseconds each."""
    for found in _validator.collect_violations(message, fail_fast=True):
        return _violation(found.proto.field, found.proto.rule_id, found.proto.message)
    return None


def parsed(kind: type[M], data: bytes) -> M:
    """The message out of its octets. Raises InvalidArgument MESSAGE_INVALID."""
    try:
        return kind.FromString(data)
    except DecodeError as cause:
        raise InvalidArgument("MESSAGE_INVALID", f"this is no {kind.DESCRIPTOR.full_name}") from cause


def check(message: Message) -> None:
    """Raises InvalidArgument with all violations; its reason is the violation's own when there is one alone."""
    found = violations(message)
    if found:
        raise refusal(found)


def refusal(found: tuple[Violation, ...]) -> InvalidArgument:
    reason = found[0].reason if len({row.reason for row in found}) == 1 else "REQUEST_INVALID"
    text = "; ".join(f"{row.field}: {row.description}" for row in found[:3])
    return InvalidArgument(reason, text, violations=found)


def _violation(field: FieldPath | None, rule: str, said: str) -> Violation:
    names: list[str] = []
    for element in field.elements if field else ():
        subscript = element.subscript
        names.append(element.field_name if subscript is None else f"{element.field_name}[{subscript.value}]")
    path = ".".join(names)
    last = names[-1].partition("[")[0] if names else ""
    if rule.isupper():
        return Violation(path, rule, said)
    word = last.upper()
    if rule in _EMPTY:
        return Violation(path, f"{word}_MISSING", "this must not be empty")
    if last in _WORDS:
        return Violation(path, *_WORDS[last])
    if rule in _TOO_MUCH:
        return Violation(path, f"{word}_TOO_LONG", said)
    return Violation(path, f"{word}_INVALID", _PATTERN if rule == "string.pattern" and "p{Cc}" in said else said)
