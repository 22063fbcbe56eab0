"""Registers a camera by gRPC over mTLS, and waits until the hub sees it: register_camera.py FOLDER FILE.json [SECONDS].

FOLDER is what `vidhub unit enrol` made. Nothing of vidhub but its generated stubs is used, so that this can be written
anew in any language that has gRPC. Prints one line, {"id": …, "state": …, "reason": …}; exit code 1 unless ONLINE.
"""

import json
import sys
import time
from pathlib import Path

import grpc
from google.protobuf.json_format import Parse
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from vidhub.v1 import camera_pb2, camera_service_pb2, camera_service_pb2_grpc


def channel(folder: Path) -> grpc.Channel:
    """mTLS: the unit's certificate and key, and the one authority that is believed."""
    hub = json.loads((folder / "identity.json").read_text())["hub"]
    ca, key, certificate = ((folder / name).read_bytes() for name in ("ca.pem", "unit.key", "unit.pem"))
    return grpc.secure_channel(hub, grpc.ssl_channel_credentials(ca, key, certificate))


def explain(error: grpc.RpcError) -> str:
    """What the hub says is wrong, rule by rule."""
    lines = [f"{error.code().name}: {error.details()}"]
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        broken = error_details_pb2.BadRequest()
        if detail.Unpack(broken):
            lines += [f"  {one.field}: {one.description} ({one.reason})" for one in broken.field_violations]
    return "\n".join(lines)


def main(folder: str, file: str, seconds: float = 30.0) -> int:
    camera = Parse(Path(file).read_text(), camera_pb2.Camera())
    with channel(Path(folder)) as connection:
        hub = camera_service_pb2_grpc.CameraServiceStub(connection)
        try:
            # Registering again with the same id changes the record: a program may simply say what is.
            given = hub.RegisterCamera(camera_service_pb2.RegisterCameraRequest(camera=camera), timeout=30).camera
            until = time.monotonic() + seconds
            while given.state != camera_pb2.CAMERA_STATE_ONLINE and time.monotonic() < until:
                time.sleep(0.5)
                given = hub.GetCamera(camera_service_pb2.GetCameraRequest(id=given.id), timeout=30).camera
        except grpc.RpcError as error:
            print(explain(error), file=sys.stderr)
            return 1
    state = camera_pb2.CameraState.Name(given.state).removeprefix("CAMERA_STATE_")
    print(json.dumps({"id": given.id, "state": state, "reason": given.state_reason}, ensure_ascii=False))
    return 0 if state == "ONLINE" else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3], *map(float, sys.argv[3:])))
