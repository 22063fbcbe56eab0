"""The Dockerfile, without an engine: what it copies is there, what it runs is make's, what it opens is served."""

from __future__ import annotations

import dataclasses
import fnmatch
import json
import re
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support.manifests import ROOT

from vidhub.cli import app
from vidhub.config import OFF, ListenOptions, load, split_address


class Step(NamedTuple):
    stage: str
    word: str
    rest: str


def steps() -> list[Step]:
    """Every instruction, with the name of its stage."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    found, stage = [], ""
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            stage = rest.split(" AS ")[1]
        found.append(Step(stage, word, " ".join(rest.split())))
    return found


def of(word: str, stage: str = "") -> list[str]:
    return [step.rest for step in steps() if step.word == word and stage in ("", step.stage)]


def pins(name: str) -> dict[str, str]:
    text = (ROOT / "requirements" / name).read_text()
    return dict(re.findall(r"^([a-z0-9][\w.-]*)==(\S+)", text, re.MULTILINE))


def tracked() -> set[str]:
    told = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(told.stdout.splitlines())


def is_sent(path: str) -> bool:
    """Whether .dockerignore lets the engine have it; the last line that fits decides, as the engine has it."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!").rstrip("/")
        parts = path.split("/")
        tops = ["/".join(parts[: n + 1]) for n in range(len(parts))]
        if pattern.startswith("**/"):
            fits = any(fnmatch.fnmatchcase(part, pattern[3:]) for part in parts)
        else:
            fits = any(fnmatch.fnmatchcase(top, pattern) and top.count("/") == pattern.count("/") for top in tops)
        if fits:
            sent = line.startswith("!")
    return sent


def test_every_stage_stands_on_one_before_or_on_an_image_with_its_version():
    seen: list[str] = []
    for step in steps():
        if step.word == "FROM":
            source, _, name = step.rest.partition(" AS ")
            assert source in seen or re.fullmatch(r"(node|rust|python):\d[\w.-]*-bookworm[\w-]*", source), source
            seen.append(name)
        elif step.word == "COPY" and (from_ := re.match(r"--from=(\S+)", step.rest)):
            assert from_[1] in seen
    assert seen[-1] == "hub"  # what is built when no target is named
    makefile = (ROOT / "Makefile").read_text()
    assert set(re.findall(r"--target (\w+)", makefile)) == {"hub", "demo"} <= set(seen)


def test_what_is_copied_is_there_and_reaches_the_engine():
    files = tracked()
    for rest in of("COPY"):
        if rest.startswith("--from="):
            continue
        for source in rest.split()[:-1]:
            below = [path for path in files if path == source or path.startswith(f"{source.rstrip('/')}/")]
            assert below, source
            assert [path for path in below if not is_sent(path)] == [], source
    for secret in (
        "vidhub-data/keys/hub.key",
        ".git/config",
        "vidhub.toml",
        ".venv/pyvenv.cfg",
        "console/node_modules/x",
    ):
        assert not is_sent(secret)


def test_the_build_has_all_that_cargo_and_maturin_name():
    copied = [source for rest in of("COPY", "build") if not rest.startswith("--") for source in rest.split()[:-1]]
    cargo = tomllib.loads((ROOT / "Cargo.toml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    named = [cargo["lib"]["path"]]
    named += [each["path"] for kind in ("test", "bench", "bin") for each in cargo.get(kind, [])]
    named += [
        project["project"]["readme"],
        *project["project"]["license-files"],
        project["tool"]["maturin"]["python-source"],
    ]
    missing = [path for path in named if not any(Path(path).is_relative_to(source) for source in copied)]
    assert missing == []


def test_what_is_run_to_build_is_the_makefiles():
    made = [re.match(r"make (\S+)$", rest) for rest in of("RUN", "build") if rest.startswith("make")]
    targets = [found[1] for found in made if found]
    assert targets == [".venv/.stamps/python", "wheel"]
    for target in targets:
        asked = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=False)
        assert asked.returncode == 0, asked.stderr
    # The rest is getting make's own tools.
    others = [rest for rest in of("RUN", "build") if not rest.startswith("make")]
    assert all(rest.startswith(("apt-get ", "ln ")) for rest in others)


def test_the_images_have_the_versions_that_we_ask_of_others():
    cargo = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["rust-version"]
    python = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"].removeprefix(">=")
    node = json.loads((ROOT / "console" / "package.json").read_text())["engines"]["node"].removeprefix(">=")
    images = {source.partition(":")[0]: source.partition(":")[2] for rest in of("FROM") for source in [rest.split()[0]]}
    assert images["rust"] == f"{cargo}-bookworm"
    assert images["python"] == f"{python}-slim-bookworm"
    assert images["node"] == f"{node}-bookworm-slim"


def test_the_hub_in_it_is_nobody_in_particular_and_opens_what_it_listens_on():
    assert of("USER") == ["10001:10001"]
    assert "--uid 10001 " in of("RUN", "base")[0]
    assert of("ENTRYPOINT") == ['["vidhub"]']
    assert of("CMD", "hub") == ['["serve"]']
    listen = ListenOptions()
    numbers = {each.name: getattr(listen, each.name) for each in dataclasses.fields(listen)}
    ports = {name: split_address(listener)[1] for name, listener in numbers.items() if listener != OFF}
    wanted = {str(ports[name]) for name in ports if name != "rtsp_udp"}
    wanted |= {f"{ports['rtsp_udp']}/udp", f"{ports['rtsp_udp'] + 1}/udp", f"{ports['webrtc']}/udp"}
    assert set(of("EXPOSE")[0].split()) == wanted
    (health,) = of("HEALTHCHECK")
    assert f"http://127.0.0.1:{ports['metrics']}/healthz" in health


def test_its_environment_is_options_of_ours():
    told = dict(pair.split("=", 1) for rest in of("ENV") for pair in rest.split())
    config = load(environment={name: value for name, value in told.items() if name.startswith("VIDHUB_")})
    (volume,) = of("VOLUME")
    assert config.data_dir.parent == Path(volume)  # a mount itself can't be restored into


def test_its_system_packages_are_those_of_the_set_up():
    known = (ROOT / "tools" / "system_packages.sh").read_text()
    wanted = re.findall(r"install -y --no-install-recommends ([\w. -]+?)(?= &&|$)", of("RUN", "base")[0])
    assert wanted
    assert all(re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", known) for name in wanted[0].split())


def test_what_it_installs_is_what_the_hub_needs_and_was_tested_with():
    serve, dev = pins("serve.txt"), pins("dev.txt")
    assert serve.items() <= dev.items()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    waiting = [Requirement(text) for text in project["dependencies"]]
    needed: set[str] = set()
    while waiting:
        one = waiting.pop()
        extras = one.extras or {""}
        if one.marker is not None and not any(one.marker.evaluate({"extra": extra}) for extra in extras):
            continue
        name = canonicalize_name(one.name)
        inside = {f"{name}[{extra}]" for extra in extras}
        if inside <= needed:
            continue
        needed |= inside
        for text in metadata.requires(name) or []:
            inner = Requirement(text)
            if inner.marker is None or any(inner.marker.evaluate({"extra": extra}) for extra in {"", *one.extras}):
                inner.marker = None
                waiting.append(inner)
    assert {name.partition("[")[0] for name in needed} == {canonicalize_name(name) for name in serve}


def test_the_demos_footage_is_picked_out_of_the_lock_with_its_hashes():
    (command,) = [rest for rest in of("RUN", "demo-packages") if rest.startswith("grep")]
    pattern, file = re.match(r"grep -A 3 '(\S+)' /tmp/(\S+) > /tmp/demo.txt$", command).groups()  # type: ignore[union-attr]
    picked = subprocess.run(
        ["grep", "-A", "3", pattern, str(ROOT / "requirements" / file)], capture_output=True, text=True, check=True
    ).stdout
    assert re.fullmatch(r"scikit-video==\S+( \\\n    --hash=sha256:[0-9a-f]{64})+\n    # [^\n]*\n", picked)


@pytest.mark.parametrize("unit", ["vidhub.service", "vidhub-backup.service", "vidhub-backup.timer"])
def test_systemd_understands_the_units(unit: str):
    folder = ROOT / "ops" / "systemd"
    told = subprocess.run(
        ["systemd-analyze", "verify", str(folder / unit)], capture_output=True, text=True, check=False
    )
    wrong = [line for line in told.stderr.splitlines() if "/opt/vidhub/bin/vidhub is not executable" not in line]
    assert wrong == []


def test_the_units_of_systemd_run_the_command_that_there_is():
    folder = ROOT / "ops" / "systemd"
    texts = [(folder / name).read_text() for name in ("vidhub.service", "vidhub-backup.service")]
    for text in texts:
        environment = dict(re.findall(r"^Environment=(VIDHUB_\w+)=(.*)$", text, re.MULTILINE))
        assert load(environment=environment).data_dir == Path("/var/lib/vidhub/data")
    words = re.findall(r"/opt/vidhub/bin/vidhub (?:--config \S+ )?(\w+)", "".join(texts))
    known = {command.name for command in app.registered_commands}
    assert set(words) == {"serve", "backup"} <= known


def test_the_guides_container_takes_its_variables(tmp_path: Path):
    guide = (ROOT / "docs" / "guide" / "operate.md").read_text()
    told = dict(re.findall(r"-e (VIDHUB_\w+)=(\S+)", guide))
    assert "VIDHUB_TLS_CERT" in told
    for name in ("VIDHUB_TLS_CERT", "VIDHUB_TLS_KEY"):
        told[name] = str(tmp_path / Path(told[name]).name)
        Path(told[name]).touch()
    config = load(environment=told)
    published = {int(port) for port in re.findall(r"-p \d+:(\d+)", guide)}
    outside = (getattr(config.listen, each.name) for each in dataclasses.fields(config.listen))
    assert published == {split_address(one)[1] for one in outside if one.startswith("0.0.0.0:")}
