"""Nothing imports upward: both trees are listed from the ground up; modules on one row do not import each other."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

RUST = [
    {"error", "bell"},
    {"media", "telemetry"},
    {"wire"},
    {"registry", "policy", "ticket", "stream", "peer"},
    {"source", "sink"},
    {"gate"},
    {"server"},
    {"hub", "camera_sim"},
    {"py"},
]
PYTHON = [
    {"errors"},
    {
        "model",
        "config",
        "telemetry",
        "v1",
        "paging",
        "places",
        "logs",
        "lockfile",
        "mtls",
        "picture",
        "client",
        "turns",
    },
    {"core", "store"},
    {"audit", "events"},
    {"identity"},
    {"catalogue", "backup"},
    {"access", "compliance"},
    {"api"},
    {"link"},
    {"doctor"},
    {"app"},
    {"cli"},
]
# Only these see protobuf messages.
PROTOBUF_READERS = {"api", "link", "cli", "v1"}


def rank(layers: list[set[str]], module: str) -> int | None:
    return next((height for height, row in enumerate(layers) if module in row), None)


def complaints(layers: list[set[str]], edges: Iterator[tuple[str, str, str]]) -> list[str]:
    found = []
    for place, importer, imported in edges:
        if importer == imported:
            continue
        above, below = rank(layers, importer), rank(layers, imported)
        if above is None:
            found.append(f"{place}: {importer} has no row")
        elif below is None:
            found.append(f"{place}: {imported} has no row")
        elif below >= above:
            found.append(f"{place}: {importer} imports {imported}")
    return found


def rust_edges() -> Iterator[tuple[str, str, str]]:
    source = ROOT / "rust" / "src"
    for path in sorted(source.rglob("*.rs")):
        importer = path.relative_to(source).parts[0].removesuffix(".rs")
        if importer == "lib":
            continue
        # Test modules stand at the foot of a file and may reach for what they like below `hub`.
        text = path.read_text().split("#[cfg(test)]\nmod tests")[0]
        text = re.sub(r"//[^\n]*", "", text)
        imported = set(re.findall(r"\bcrate::(\w+)", text))
        for group in re.findall(r"\bcrate::\{(.*?)\};", text, re.DOTALL):
            imported |= set(re.findall(r"(?:^|,)\s*(\w+)", re.sub(r"\{[^{}]*\}", "", group)))
        for name in sorted(imported):
            yield str(path.relative_to(ROOT)), importer, name


def python_imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = path.relative_to(ROOT / "python").with_suffix("").parts
            base = ".".join(package[: len(package) - node.level]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            yield from (f"{module}.{alias.name}" for alias in node.names)


def python_files() -> Iterator[tuple[Path, str]]:
    package = ROOT / "python" / "vidhub"
    for path in sorted(package.rglob("*.py")):
        importer = path.relative_to(package).parts[0].removesuffix(".py")
        if importer not in {"__init__", "__main__", "v1"}:
            yield path, importer


def python_edges() -> Iterator[tuple[str, str, str]]:
    for path, importer in python_files():
        for name in python_imports(path):
            parts = name.split(".")
            if parts[0] == "vidhub" and len(parts) > 1 and parts[1] not in {"_core", "__version__"}:
                yield str(path.relative_to(ROOT)), importer, parts[1]


def test_no_rust_module_imports_upward() -> None:
    assert not complaints(RUST, rust_edges())


def test_no_python_module_imports_upward() -> None:
    assert not complaints(PYTHON, python_edges())


def test_every_module_of_the_crate_has_a_row() -> None:
    declared = set(re.findall(r"^(?:pub )?mod (\w+);", (ROOT / "rust/src/lib.rs").read_text(), re.MULTILINE))
    assert declared == set().union(*RUST)


def test_only_core_imports_the_extension() -> None:
    importers = {
        path.name for path, _ in python_files() for name in python_imports(path) if name.startswith("vidhub._core")
    }
    assert importers <= {"core.py"}


def test_only_the_edges_see_protobuf() -> None:
    readers = {
        importer
        for path, importer in python_files()
        for name in python_imports(path)
        if name.startswith(("google.protobuf", "vidhub.v1"))
    }
    assert readers <= PROTOBUF_READERS


@pytest.mark.parametrize(("importer", "imported"), [("store", "api"), ("audit", "events")])
def test_a_breach_is_seen(importer: str, imported: str) -> None:
    assert complaints(PYTHON, iter([("here", importer, imported)]))
