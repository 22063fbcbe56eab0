"""Makes docs/reference/errors.md: every reason in the sources, with the sentence that the code says with it.

Words without a sentence of their own, such as the reasons that a session ended by, are told in tools/error_words.toml.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "docs" / "reference" / "errors.md"
WORDS = ROOT / "tools" / "error_words.toml"
WORD = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+")
HEAD = """\
<!-- Made by tools/reference_errors.py of the sources and tools/error_words.toml: change those. -->
# Errors by reason

Every failure has a reason, a word that never changes, and a sentence that says what to do. Programs go by the reason,
people by the sentence. Where the reason stands:

| where | how |
| --- | --- |
| command line | `REASON: sentence` on stderr, with `--json` `{"error": {"reason", "message"}}` |
| gRPC, Connect | `google.rpc.ErrorInfo.reason`; for each wrong field `BadRequest.field_violations[].reason` |
| WHEP, WHIP, `/mse` | problem+json `reason`; close reason of the WebSocket |
| RTSP | header `X-Vidhub-Reason` |
| sessions, cameras, links | `end_reason`, `state_reason`, `trouble_reason` |
| log, register of use | field `reason` |

Kinds are gRPC's codes. *field*: one field breaks a rule. *check*: `vidhub doctor` says it. *word*: it ends or explains
something that runs. An ellipsis stands for what differs from case to case. Reasons of links are also told in
[links](links.md#reasons), limits in [limits](limits.md).

| reason | kind | what it says |
| --- | --- | --- |
"""
# Words in capitals that are no reasons: methods, actions, names of variables.
NO_REASONS = re.compile(
    r"(?:GET|SET)_PARAMETER|CREATE_GRANT|VIEW_LIVE|CARGO_\w+|ADVERTISED_ADDRESS|VIDHUB_\w*|RUST_LOG"
)
_GAP = "…"
# Beyond this a sentence is cut at a word.
_LONGEST = 300


@dataclass
class Found:
    """What the sources say of one reason."""

    kinds: set[str] = field(default_factory=set)
    sentences: list[str] = field(default_factory=list)


def reasons() -> dict[str, Found]:
    """Every reason in the code and the protos."""
    found: dict[str, Found] = defaultdict(Found)
    for path in sorted((ROOT / "python" / "vidhub").rglob("*.py")):
        if not {"v1", "migrations"} & set(path.parts):
            _of_python(ast.parse(path.read_text(encoding="utf-8")), found)
    for path in sorted((ROOT / "rust" / "src").rglob("*.rs")):
        if path.name != "cases.rs":
            _of_rust(path.read_text(encoding="utf-8").split("#[cfg(test)]")[0], found)
    for path in sorted((ROOT / "protos").rglob("*.proto")):
        for word, sentence in re.findall(r'id: "(\w+)"\s+message: "([^"]+)"', path.read_text(encoding="utf-8")):
            found[word].kinds.add("field")
            found[word].sentences.append(sentence)
    return {word: found[word] for word in sorted(found)}


def told() -> dict[str, str]:
    """Meanings of the words that have no sentence in the code, or a poor one."""
    return {
        word: text
        for group in tomllib.loads(WORDS.read_text(encoding="utf-8")).values()
        for word, text in group.items()
    }


def untold() -> list[str]:
    """Reasons that nothing explains."""
    known = told()
    return [word for word, found in reasons().items() if not found.sentences and word not in known]


def made() -> str:
    """The whole text of `TARGET`."""
    known = told()
    rows = []
    for word, found in reasons().items():
        sentence = known.get(word) or (max(found.sentences, key=len) if found.sentences else "")
        kinds = sorted(found.kinds) or ["word"]
        rows.append(f"| `{word}` | {', '.join(kinds)} | {_cell(sentence)} |\n")
    return HEAD + "".join(rows)


def _cell(text: str) -> str:
    text = " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
    return text if len(text) <= _LONGEST else text[:_LONGEST].rsplit(" ", 1)[0] + " …"


# Python: calls that hold a reason and a sentence.


def _of_python(tree: ast.Module, found: dict[str, Found]) -> None:
    names = {id(one) for node in ast.walk(tree) for one in _exported(node)}
    strings = {id(one) for node in ast.walk(tree) for one in _pieces(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in names | strings and _is_reason(node.value):
            found[str(node.value)]
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            _of_row(name, [*node.args, *(keyword.value for keyword in node.keywords)], found)
        elif isinstance(node, ast.Tuple):
            _of_row("", node.elts, found)
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                _of_row("", [one for one in (key, value) if one is not None], found)


def _exported(node: ast.AST) -> Iterator[ast.expr]:
    if isinstance(node, ast.Assign) and any(isinstance(one, ast.Name) and one.id == "__all__" for one in node.targets):
        yield from getattr(node.value, "elts", [])


def _pieces(node: ast.AST) -> Iterator[ast.expr]:
    if isinstance(node, ast.JoinedStr):
        yield from node.values


def _of_row(name: str, values: list[ast.expr], found: dict[str, Found]) -> None:
    """name: of what is called with these values; empty where they only stand together."""
    words = [one.value for one in values if isinstance(one, ast.Constant) and _is_reason(one.value)]
    sentences = [text for one in values if " " in (text := _text(one)).strip()]
    for word in words:
        if kind := _kind(name):
            found[word].kinds.add(kind)
        if sentences:
            found[word].sentences.append(": ".join(sentences) if name == "Hop" else max(sentences, key=len))


def _kind(name: str) -> str:
    if name in ("Violation", "wrong", "violation", "_violation", "broken"):
        return "field"
    if name == "Hop":
        return "check"
    from vidhub import errors

    kind = getattr(errors, name, None)
    return str(kind.code).upper() if isinstance(kind, type) and issubclass(kind, errors.VidhubError) else ""


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(one.value if isinstance(one, ast.Constant) else _GAP for one in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left) + _text(node.right)
    return ""


def _is_reason(value: object) -> bool:
    return isinstance(value, str) and bool(WORD.fullmatch(value)) and not NO_REASONS.fullmatch(value)


# Rust: the kind stands before a reason, the sentence after it.

_LITERAL = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)


def _of_rust(text: str, found: dict[str, Found]) -> None:
    text = re.sub(r"//[^\n]*", "", text)
    literals = list(_LITERAL.finditer(text))
    for place, literal in enumerate(literals):
        word = literal[1]
        if not _is_reason(word):
            continue
        before = text[max(0, literal.start() - 60) : literal.start()]
        if kind := re.findall(r"ErrorKind::(\w+)\s*,\s*$", before):
            found[word].kinds.add(re.sub(r"(?<!^)(?=[A-Z])", "_", kind[-1]).upper())
        else:
            found[word]
        following = literals[place + 1] if place + 1 < len(literals) else None
        if following is None:
            continue
        between = text[literal.end() : following.start()]
        # The next argument of the same call, and nothing else.
        if " " in following[1] and re.fullmatch(r"\s*,\s*(?:format!\(\s*)?", between):
            sentence = re.sub(r"\\\n\s*", "", following[1]).replace('\\"', '"')
            found[word].sentences.append(re.sub(r"\{[^{}]*\}", _GAP, sentence))


if __name__ == "__main__":
    if missing := untold():
        sys.exit(f"tell in {WORDS.relative_to(ROOT)} what these mean: {', '.join(missing)}")
    TARGET.write_text(made(), encoding="utf-8")
