"""An import: lines of a table go to the hub in batches, and what became of each is told."""

from __future__ import annotations

import csv
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc

from vidhub.cli import camera_csv, camera_retire, camera_xlsx
from vidhub.errors import InvalidArgument, Violation
from vidhub.v1 import camera_service_pb2, camera_service_pb2_grpc

# As many as the API takes at once, and well under its longest message.
BATCH = 1_000
BATCH_BYTES = 4 * 1024 * 1024
_DUPLICATE = Violation("id", "ID_DUPLICATE_IN_FILE", "the file has this id before: keep one of the lines")
# Each run would register its camera anew, and retire the one of the run before.
_NAMELESS = Violation(
    "id", "ID_MISSING", "a file that says which cameras there are names each by its id: see vidhub camera list"
)


def table_of(path: Path) -> ModuleType:
    """What reads this file, by its name: `count` and `read`. Raises InvalidArgument FILE_KIND_UNKNOWN."""
    kinds = {".csv": camera_csv, ".xlsx": camera_xlsx}
    found = kinds.get(path.suffix.lower())
    if found is None:
        raise InvalidArgument("FILE_KIND_UNKNOWN", f"{path} is neither .csv nor .xlsx: save it as one of them")
    return found


@dataclass(slots=True)
class Report:
    """What became of the lines. Entries of `rejected`, `warned` and `changes` are as `--json` prints them."""

    accepted: int = 0
    created: int = 0
    changed: int = 0
    unchanged: int = 0
    rejected: list[dict[str, Any]] = field(default_factory=list)
    warned: list[dict[str, Any]] = field(default_factory=list)
    # Of a dry run: which cameras would change, in which fields.
    changes: list[dict[str, Any]] = field(default_factory=list)
    # Cameras that the unit had before and the file does not name, out of how many; looked for in a dry run, and where
    # they are to be retired. Those that were.
    missing: list[str] = field(default_factory=list)
    before: int = 0
    retired: list[str] = field(default_factory=list)

    def sort(self) -> None:
        for entries in (self.rejected, self.warned, self.changes):
            entries.sort(key=lambda one: one["line"])

    def document(self, *, dry_run: bool) -> dict[str, Any]:
        document: dict[str, Any] = {
            "accepted": self.accepted,
            "created": self.created,
            "changed": self.changed,
            "unchanged": self.unchanged,
            "rejected": self.rejected,
            "warned": self.warned,
        }
        if dry_run:
            return {**document, "changes": self.changes, "missing": self.missing}
        return {**document, "retired": self.retired}

    def write(self, path: Path) -> None:
        """One line a finding, as CSV. Raises InvalidArgument FILE_NOT_WRITTEN."""
        try:
            # With the mark that makes spreadsheets read UTF-8.
            with path.open("w", encoding="utf-8-sig", newline="") as file:
                table = csv.writer(file)
                table.writerow(("line", "id", "kind", "field", "rule", "remedy"))
                for kind, entries in (("error", self.rejected), ("warning", self.warned)):
                    for entry in entries:
                        for one in entry["violations"]:
                            told = (one["field"], one["reason"], one["description"])
                            table.writerow((entry["line"], entry["id"], kind, *map(_safe, told)))
                for change in self.changes:
                    table.writerow((change["line"], change["id"], "changed", " ".join(change["fields"]), "", ""))
                gone = set(self.retired)
                for camera_id in self.missing:
                    kind = "retired" if camera_id in gone else "missing"
                    table.writerow(("", camera_id, kind, "", "", ""))
        except OSError as cause:
            raise InvalidArgument("FILE_NOT_WRITTEN", f"{path}: {cause.strerror}: choose another place") from cause


class Import:
    """Sends one file. `advance` is told how many lines have been dealt with.

    is_whole: the file names all of the unit's cameras, each by its id; those that it lacks are looked for.
    """

    def __init__(self, path: Path, *, dry_run: bool, advance: Callable[[int], object], is_whole: bool = False) -> None:
        self._path = path
        self._dry_run = dry_run
        self._is_whole = is_whole
        self._advance = advance
        self._seen: set[str] = set()
        self.report = Report()

    async def run(self, channel: grpc.aio.Channel) -> Report:
        stub = camera_service_pb2_grpc.CameraServiceStub(channel)
        sent: list[list[camera_csv.Row]] = []
        before: list[str] = []
        if self._dry_run or self._is_whole:
            before = [one async for one in camera_retire.own_ids(stub)]

        async def requests() -> AsyncIterator[camera_service_pb2.RegisterCamerasRequest]:
            for batch in _batches(self._good()):
                sent.append(batch)
                yield camera_service_pb2.RegisterCamerasRequest(
                    cameras=[row.camera for row in batch], dry_run=self._dry_run
                )

        async for answer in stub.RegisterCameras(requests()):
            self._take(answer, sent.pop(0))
        self.report.missing = [one for one in before if one not in self._seen]
        self.report.before = len(before)
        self.report.sort()
        return self.report

    def _good(self) -> Iterator[camera_csv.Row]:
        """Lines to send; those that need no hub to be refused are reported at once."""
        for row in table_of(self._path).read(self._path):
            violations = list(row.violations)
            if row.camera.id and row.camera.id in self._seen:
                violations.append(_DUPLICATE)
            if self._is_whole and not row.camera.id:
                violations.append(_NAMELESS)
            self._seen.add(row.camera.id)
            if violations:
                self.report.rejected.append(_entry(row.line, row.camera.id, violations))
                self._advance(1)
            else:
                yield row

    def _take(self, answer: camera_service_pb2.RegisterCamerasResponse, batch: Sequence[camera_csv.Row]) -> None:
        report = self.report
        for one in answer.rejected:
            row = batch[one.index]
            report.rejected.append(_entry(row.line, one.id or row.camera.id, _by_column(row, one.violations)))
        for warned in answer.warned:
            row = batch[warned.index]
            camera_id = row.camera.id or answer.ids[warned.index]
            report.warned.append(_entry(row.line, camera_id, warned.warnings))
        for change in answer.changes:
            row = batch[change.index]
            kind = camera_service_pb2.RegistrationKind.Name(change.kind).removeprefix("REGISTRATION_KIND_").lower()
            if kind == "changed":
                report.changes.append({"line": row.line, "id": row.camera.id, "fields": list(change.fields)})
        report.accepted += len(batch) - len(answer.rejected)
        report.created += answer.created
        report.changed += answer.changed
        report.unchanged += answer.unchanged
        self._advance(len(batch))


def _batches(rows: Iterable[camera_csv.Row]) -> Iterator[list[camera_csv.Row]]:
    batch: list[camera_csv.Row] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += row.camera.ByteSize()
        if len(batch) == BATCH or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _entry(line: int, camera_id: str, violations: Iterable[Any]) -> dict[str, Any]:
    return {
        "line": line,
        "id": camera_id,
        "violations": [
            {"field": one.field, "reason": one.reason, "description": one.description} for one in violations
        ],
    }


def _by_column(row: camera_csv.Row, violations: Iterable[Any]) -> list[Violation]:
    """In the words of the file: the hub's streams[0].url is its main.url."""
    found = []
    for one in violations:
        path = one.field
        for index, stream in enumerate(row.camera.streams):
            path = path.replace(f"streams[{index}]", camera_csv.COLUMNS[stream.profile])
        found.append(Violation(path, one.reason, one.description))
    return found


def _safe(text: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text
