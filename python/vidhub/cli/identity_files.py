"""The files of a unit's identity: the enrolment file a hub gives out, and the folder that enrolling fills."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from vidhub.errors import InvalidArgument
from vidhub.mtls import check_validity, secure_channel

# No file of ours is larger; what is, is not read.
LARGEST_FILE = 256 * 1024


@dataclass(frozen=True, slots=True)
class Identity:
    """A unit's certificate and key, and the hub that gave it."""

    unit_id: str
    hub: str
    ca_pem: bytes
    certificate_pem: bytes
    key_pem: bytes

    def channel(self) -> grpc.aio.Channel:
        """A channel to the hub over mTLS. Raises FailedPrecondition CERTIFICATE_EXPIRED, which no handshake says."""
        check_validity(self.certificate_pem)
        return secure_channel(self.hub, self.ca_pem, self.certificate_pem, self.key_pem)


def read_json(path: Path, keys: tuple[str, ...], what: str) -> dict[str, Any]:
    """A small JSON object with these keys. Raises InvalidArgument FILE_NOT_READ or FILE_INVALID."""
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST_FILE + 1)
    except OSError as cause:
        raise InvalidArgument("FILE_NOT_READ", f"{path}: {cause.strerror}: give the path of {what}") from cause
    try:
        document = json.loads(text) if len(text) <= LARGEST_FILE else None
    except ValueError:
        document = None
    if not isinstance(document, dict) or any(not isinstance(document.get(key), str) for key in keys):
        raise InvalidArgument("FILE_INVALID", f"{path} is not {what}: it must be a JSON object with {', '.join(keys)}")
    return document


def load_identity(directory: Path) -> Identity:
    """What `vidhub unit enrol` wrote. Raises InvalidArgument when a file is missing or broken."""
    document = read_json(
        directory / "identity.json",
        ("unit_id", "hub", "certificate", "key", "ca"),
        "the identity.json that vidhub unit enrol wrote",
    )
    parts = {}
    for name in ("ca", "certificate", "key"):
        # The paths were written for the machine that enrolled: the folder may have moved.
        path = directory / Path(document[name]).name
        try:
            parts[name] = path.read_bytes()
        except OSError as cause:
            raise InvalidArgument("FILE_NOT_READ", f"{path}: {cause.strerror}: enrol again") from cause
    return Identity(document["unit_id"], document["hub"], parts["ca"], parts["certificate"], parts["key"])
