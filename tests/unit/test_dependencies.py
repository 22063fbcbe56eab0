"""What we build on: licences that go with Apache-2.0, crates from the registry alone, nothing pinned by an address."""

import json
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]

# Permissive, or copyleft by file only (MPL).
ALLOWED = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-1-Clause", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0",
    "CC0-1.0", "CDLA-Permissive-2.0", "ISC", "MIT", "MIT-0", "MPL-2.0", "NCSA", "OpenSSL", "Unicode-3.0", "Unlicense",
    "Zlib",
}  # fmt: skip


def packages() -> list[dict[str, object]]:
    told = subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--locked", "--all-features"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        timeout=300,
    )
    return [package for package in json.loads(told.stdout)["packages"] if package["source"] is not None]


def is_allowed(expression: str) -> bool:
    """An SPDX expression: every AND part needs an allowed OR alternative. "/" is the old way to write OR."""
    flat = expression.replace("/", " OR ")
    parts = re.split(r"\s+AND\s+(?![^(]*\))", flat)
    return all(
        any(choice.strip(" ()") in ALLOWED for choice in re.split(r"\s+OR\s+", part.strip().strip("()")))
        for part in parts
    )


def test_every_crate_has_a_licence_that_goes_with_ours() -> None:
    wrong = {str(one["name"]): one["license"] for one in packages() if not is_allowed(str(one["license"] or ""))}
    assert not wrong


def test_every_crate_comes_from_the_registry() -> None:
    assert {str(one["source"]).partition("+")[0] for one in packages()} == {"registry"}


def test_python_is_pinned_by_version_and_hash() -> None:
    for name in ("dev.txt", "serve.txt"):
        lines = (ROOT / "requirements" / name).read_text().replace("\\\n", " ").splitlines()
        pins = [line for line in lines if line and not line.lstrip().startswith("#")]
        assert pins
        assert all(re.match(r"[a-z0-9][\w.-]*==\S+ .*--hash=sha256:", line) for line in pins)


def test_no_lock_file_names_an_address_to_download_from() -> None:
    for name in ("dev.txt", "serve.txt"):
        assert "://" not in (ROOT / "requirements" / name).read_text()
    lock = json.loads((ROOT / "console" / "package-lock.json").read_text())
    assert not [name for name, package in lock["packages"].items() if "resolved" in package]


def test_the_licence_rule_can_refuse() -> None:
    assert is_allowed("MIT OR Apache-2.0")
    assert is_allowed("(MIT OR Apache-2.0) AND Unicode-3.0")
    assert is_allowed("MIT/Apache-2.0")
    assert not is_allowed("GPL-3.0")
    assert not is_allowed("MIT AND GPL-3.0")
    assert not is_allowed("")
