"""Makes docs/reference/services.md: services, methods and messages of protos/ with comments, rules and callers."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from google.protobuf import text_format
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)

from buf.validate import validate_pb2
from vidhub.api import SERVICES, Access
from vidhub.model import Role

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "docs" / "reference" / "services.md"
PROTOS = ROOT / "protos"
HEAD = """\
<!-- Made by tools/reference_api.py of protos/ and python/vidhub/api/__init__.py: change those. -->
# Services and messages

All of `vidhub.v1`, as `protos/` define it; how it is called, and what errors look like, is told in [the API](api.md).
*50051*: which certificates may call the method by gRPC. *8080*: which roles may by Connect; "everybody": whoever is
logged in. What a caller then sees is bounded by what is theirs: own cameras, grants.
"""
# Of FileDescriptorProto: messages, enums, services; of a message: fields, messages, enums; of an enum its values.
_MESSAGE, _ENUM, _SERVICE = 4, 5, 6
_FIELD, _NESTED, _INNER_ENUM = 2, 3, 4
_TYPES = {
    FieldDescriptorProto.TYPE_DOUBLE: "double",
    FieldDescriptorProto.TYPE_FLOAT: "float",
    FieldDescriptorProto.TYPE_INT64: "int64",
    FieldDescriptorProto.TYPE_UINT64: "uint64",
    FieldDescriptorProto.TYPE_INT32: "int32",
    FieldDescriptorProto.TYPE_UINT32: "uint32",
    FieldDescriptorProto.TYPE_FIXED64: "fixed64",
    FieldDescriptorProto.TYPE_FIXED32: "fixed32",
    FieldDescriptorProto.TYPE_SINT64: "sint64",
    FieldDescriptorProto.TYPE_SINT32: "sint32",
    FieldDescriptorProto.TYPE_BOOL: "bool",
    FieldDescriptorProto.TYPE_STRING: "string",
    FieldDescriptorProto.TYPE_BYTES: "bytes",
}

_Path = tuple[int, ...]


def made() -> str:
    """The whole text of `TARGET`."""
    files = [file for file in _compiled().file if file.package == "vidhub.v1"]
    contents = [f"[{service.name}](#{service.name.lower()})" for file in files for service in file.service]
    sections = ["\n" + " · ".join(contents) + "\n"]
    sections += [section for file in files for section in _services(file)]
    sections.append("\n## Messages\n")
    sections += [section for file in files for section in _messages(file)]
    return HEAD + "".join(sections)


def _compiled() -> FileDescriptorSet:
    names = [str(path.relative_to(PROTOS)) for path in sorted(PROTOS.rglob("*.proto"))]
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "set"
        includes = (f"-I{PROTOS}", f"-I{ROOT / 'third_party' / 'protovalidate'}")
        words = ("-m", "grpc_tools.protoc", *includes, "--include_source_info", f"--descriptor_set_out={target}")
        subprocess.run((sys.executable, *words, *names), check=True)  # noqa: S603  nothing here comes from outside
        return FileDescriptorSet.FromString(target.read_bytes())


def _comments(file: FileDescriptorProto) -> Mapping[_Path, str]:
    return {
        tuple(one.path): " ".join((one.leading_comments or one.trailing_comments).split())
        for one in file.source_code_info.location
        if one.leading_comments or one.trailing_comments
    }


def _services(file: FileDescriptorProto) -> Iterator[str]:
    comments = _comments(file)
    for place, service in enumerate(file.service):
        lines = [f"\n## {service.name}\n", f"\n{comments.get((_SERVICE, place), '')}\n"]
        lines.append("\n| method | 50051 | 8080 | what |\n| --- | --- | --- | --- |\n")
        known = SERVICES.get(f"vidhub.v1.{service.name}", {})
        for number, method in enumerate(service.method):
            takes = ("stream " if method.client_streaming else "") + _link(method.input_type)
            gives = ("stream " if method.server_streaming else "") + _link(method.output_type)
            grpc, http = _callers(known[method.name].access) if method.name in known else ("", "")
            told = _cell(comments.get((_SERVICE, place, 2, number), ""))
            lines.append(f"| `{method.name}` {takes} → {gives} | {grpc} | {http} | {told} |\n")
        yield "".join(lines)


def _callers(access: Access) -> tuple[str, str]:
    grpc = "–" if access.grpc is None else ", ".join(sorted(f"{kind.value}s" for kind in access.grpc))
    if access.http is None:
        http = "–"
    elif access.is_open:
        http = "anybody"
    elif access.http == frozenset(Role):
        http = "everybody"
    else:
        http = ", ".join(sorted(role.value for role in access.http))
    return grpc, http


def _messages(file: FileDescriptorProto) -> Iterator[str]:
    comments = _comments(file)
    for place, message in enumerate(file.message_type):
        yield from _message(message, message.name, (_MESSAGE, place), comments)
    for place, enum in enumerate(file.enum_type):
        yield _enum(enum, enum.name, (_ENUM, place), comments)


def _message(message: DescriptorProto, name: str, path: _Path, comments: Mapping[_Path, str]) -> Iterator[str]:
    if message.options.map_entry:
        return
    lines = [f"\n### {name}\n"]
    if told := comments.get(path):
        lines.append(f"\n{told}\n")
    if message.field:
        lines.append("\n| field | type | rules | what |\n| --- | --- | --- | --- |\n")
        for number, field in enumerate(message.field):
            told = _cell(comments.get((*path, _FIELD, number), ""))
            lines.append(f"| `{field.name}` | {_type(field, message)} | {_cell(_rules(field))} | {told} |\n")
    yield "".join(lines)
    for number, inner in enumerate(message.nested_type):
        yield from _message(inner, f"{name}.{inner.name}", (*path, _NESTED, number), comments)
    for number, enum in enumerate(message.enum_type):
        yield _enum(enum, f"{name}.{enum.name}", (*path, _INNER_ENUM, number), comments)


def _enum(enum: EnumDescriptorProto, name: str, path: _Path, comments: Mapping[_Path, str]) -> str:
    lines = [f"\n### {name}\n"]
    if told := comments.get(path):
        lines.append(f"\n{told}\n")
    lines.append("\n| value | number | what |\n| --- | --- | --- |\n")
    for number, value in enumerate(enum.value):
        lines.append(f"| `{value.name}` | {value.number} | {_cell(comments.get((*path, 2, number), ''))} |\n")
    return "".join(lines)


def _type(field: FieldDescriptorProto, message: DescriptorProto) -> str:
    name = _TYPES.get(field.type) or _link(field.type_name)
    entries = (one for one in message.nested_type if one.options.map_entry)
    entry = next((one for one in entries if field.type_name.endswith(f".{one.name}")), None)
    if entry is not None:
        return f"map of {_type(entry.field[0], entry)} to {_type(entry.field[1], entry)}"
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"list of {name}"
    return f"{name}, one of `{message.oneof_decl[field.oneof_index].name}`" if field.HasField("oneof_index") else name


def _rules(field: FieldDescriptorProto) -> str:
    if not field.options.HasExtension(validate_pb2.field):
        return ""
    rules = validate_pb2.FieldRules()
    rules.CopyFrom(field.options.Extensions[validate_pb2.field])
    sentences = [one.message for one in rules.cel]
    rules.ClearField("cel")
    rest = text_format.MessageToString(rules, as_one_line=True, as_utf8=True).strip()
    return "; ".join([f"`{rest.replace('`', '')}`"] * bool(rest) + sentences)


def _link(name: str) -> str:
    name = name.removeprefix(".")
    if not name.startswith("vidhub.v1."):
        return name
    short = name.removeprefix("vidhub.v1.")
    return f"[{short}](#{short.lower().replace('.', '')})"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    TARGET.write_text(made(), encoding="utf-8")
