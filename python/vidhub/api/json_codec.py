"""Messages as JSON and back, for Connect: written by the core, read by protobuf's own parser."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from typing import Any

from connectrpc.codec import Codec
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message

from vidhub.api import METHODS
from vidhub.core import JsonWriter


class JsonCodec(Codec[Message, Any]):
    """Proto3 JSON that refuses a field it does not know: a misspelt filter must not list everything."""

    def name(self) -> str:
        return "json"

    def encode(self, message: Message) -> bytes:
        return _writer().write(message.DESCRIPTOR.full_name, message.SerializeToString())

    def decode(self, data: bytes | bytearray, message_class: type[Any]) -> Any:
        try:
            value = json.loads(data.decode(), object_pairs_hook=_once)
        except ValueError as cause:
            raise ParseError(f"this is no JSON in UTF-8: {cause}") from cause
        except RecursionError as cause:
            raise ParseError("this is nested too deeply") from cause
        _hold_objects(value, message_class.DESCRIPTOR, "")
        return ParseDict(value, message_class(), ignore_unknown_fields=False, max_recursion_depth=20)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ParseError("a name stands twice in one object")
    return found


def _hold_objects(value: Any, message: Any, path: str) -> None:
    """Where a message belongs there is an object: protobuf's parser takes an empty list and an empty text for an empty
    message, and a filter that is none lists everything. message: its descriptor, of which the stubs know two kinds."""
    if not isinstance(value, dict):
        raise ParseError(f"{path or 'the message'} must be an object, as in {{}}")
    for name, held in value.items():
        field = message.fields_by_camelcase_name.get(name) or message.fields_by_name.get(name)
        kind = field.message_type if field is not None else None
        # Those of protobuf itself are texts, and their own parsers refuse the rest.
        if kind is None or held is None or kind.file.package == "google.protobuf":
            continue
        where = f"{path}.{name}" if path else name
        if not field.is_repeated:
            _hold_objects(held, kind, where)
        elif isinstance(held, list):
            for one in held:
                _hold_objects(one, kind, where)


@cache
def _writer() -> JsonWriter:
    files = FileDescriptorSet()
    _collect(files, (method.response.DESCRIPTOR.file for method in METHODS.values()), set())
    return JsonWriter(files.SerializeToString())


def _collect(files: FileDescriptorSet, wanted: Iterable[Any], seen: set[str]) -> None:
    """wanted: descriptors of files, of which the stubs know two kinds. Each file goes after those it imports."""
    for file in wanted:
        if file.name not in seen:
            seen.add(file.name)
            _collect(files, file.dependencies, seen)
            file.CopyToProto(files.file.add())
