"""Messages as JSON and back, for Connect: written by the core, read by protobuf's own parser."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from connectrpc.codec import Codec
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.json_format import Parse
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
        return Parse(bytes(data), message_class(), ignore_unknown_fields=False, max_recursion_depth=20)


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
