"""`vidhub unit`: connecting units, their enrolment and their certificates."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import grpc
import typer
from cryptography import x509

from vidhub.cli import local, rpc
from vidhub.cli.identity_files import load_identity, read_json
from vidhub.cli.report import private_file, settings
from vidhub.config import is_loopback, split_address
from vidhub.errors import FailedPrecondition
from vidhub.mtls import check_validity, key_pem, new_key, secure_channel, signing_request
from vidhub.v1 import enrolment_service_pb2, enrolment_service_pb2_grpc

app = typer.Typer(help="Connecting units.", no_args_is_help=True)


@app.command("token")
def token(
    context: typer.Context,
    name: str,
    region: str = typer.Option(..., help="Region code, 6 digits (GB/T 2260)."),
    industry: str = typer.Option(..., help="Industry code, 2 digits (GB/T 28181)."),
    out: Path = typer.Option(..., help="Where to write the enrolment file (0600)."),
) -> None:
    """Write an enrolment file for a unit: valid 24 hours, for one use."""
    answer = local.call(settings(context), "unit_token", {"name": name, "region_code": region, "industry": industry})
    private_file(out, json.dumps(answer["enrolment"], indent=1) + "\n")
    document = {"unit_id": answer["unit_id"], "file": str(out), "expire_time": answer["expire_time"]}
    told = f"{out}: for unit {answer['unit_id']}, good until {answer['expire_time']}"
    hub = answer["enrolment"]["hub"]
    if is_loopback(split_address(hub)[0]):
        told += (
            f"\nIt names {hub}, which is this machine for everybody: for units elsewhere, start the hub with"
            " --grpc ADDRESS:50051 (and --advertise) first"
        )
    settings(context).answer(document, told)


@app.command("enrol")
def enrol(
    context: typer.Context, file: Path, out: Path = typer.Option(..., help="Folder for certificate and key.")
) -> None:
    """Turn an enrolment file into the unit's certificate. The private key never leaves this machine."""
    claim = read_json(file, ("hub", "ca_pem", "claim_certificate_pem", "claim_key_pem"), "an enrolment file")
    try:
        check_validity(claim["claim_certificate_pem"].encode())
    except ValueError as cause:
        raise FailedPrecondition("FILE_INVALID", f"{file} holds no certificate: ask the hub for a new one") from cause
    except FailedPrecondition as expired:
        if expired.reason != "CERTIFICATE_EXPIRED":
            raise
        raise FailedPrecondition(
            "CLAIM_EXPIRED", "the enrolment file is over (24 hours): ask the hub for a new one"
        ) from None
    key = new_key()
    # Before the call: it burns the claim, and what it gives is nothing without the key. Aside, for the folder may hold
    # an identity that is in use.
    fresh = out / "unit.key.new"
    is_new = not out.exists()
    private_file(fresh, key_pem(key).decode())
    try:
        answer = rpc.run(_enrol(claim, signing_request(key)))
        fresh.replace(out / "unit.key")
    finally:
        fresh.unlink(missing_ok=True)
        if is_new:
            # Refused: no folder that looks as if it were an identity. With the key in it, it stays.
            with contextlib.suppress(OSError):
                out.rmdir()
    document = _keep(out, answer.unit_id, claim["hub"], answer.certificate_pem, answer.ca_pem)
    settings(context).answer(document, f"unit {answer.unit_id} enrolled; its identity is in {out}")


@app.command("renew")
def renew(context: typer.Context, folder: Path = typer.Argument(..., help="What unit enrol wrote.")) -> None:
    """Exchange a unit's certificate that is still good for a new one, with a new key."""
    who = load_identity(folder)
    key = new_key()
    # Before the call, and aside: the old key stays until the new one is worth something.
    fresh = folder / "unit.key.new"
    private_file(fresh, key_pem(key).decode())
    try:
        answer = rpc.run(rpc.call(who, lambda channel: _renew(channel, signing_request(key))))
        fresh.replace(folder / "unit.key")
    finally:
        fresh.unlink(missing_ok=True)
    document = _keep(folder, who.unit_id, who.hub, answer.certificate_pem, answer.ca_pem)
    settings(context).answer(document, f"unit {who.unit_id}: good until {document['not_after']}")


def _keep(folder: Path, unit_id: str, hub: str, certificate_pem: str, ca_pem: str) -> dict[str, str]:
    """Writes what belongs to the key that is there; what --identity reads of it."""
    private_file(folder / "unit.pem", certificate_pem)
    private_file(folder / "ca.pem", ca_pem)
    not_after = x509.load_pem_x509_certificate(certificate_pem.encode()).not_valid_after_utc
    document = {
        "unit_id": unit_id,
        "certificate": str(folder / "unit.pem"),
        "key": str(folder / "unit.key"),
        "ca": str(folder / "ca.pem"),
        "not_after": not_after.isoformat().replace("+00:00", "Z"),
    }
    private_file(folder / "identity.json", json.dumps({**document, "hub": hub}, indent=1) + "\n")
    return document


async def _renew(channel: grpc.aio.Channel, csr_pem: str) -> enrolment_service_pb2.RenewCertificateResponse:
    stub = enrolment_service_pb2_grpc.EnrolmentServiceStub(channel)
    request = enrolment_service_pb2.RenewCertificateRequest(csr_pem=csr_pem)
    answer: enrolment_service_pb2.RenewCertificateResponse = await stub.RenewCertificate(request, timeout=30)
    return answer


async def _enrol(claim: dict[str, str], csr_pem: str) -> enrolment_service_pb2.EnrolUnitResponse:
    channel = secure_channel(
        claim["hub"], claim["ca_pem"].encode(), claim["claim_certificate_pem"].encode(), claim["claim_key_pem"].encode()
    )
    async with channel:
        stub = enrolment_service_pb2_grpc.EnrolmentServiceStub(channel)
        request = enrolment_service_pb2.EnrolUnitRequest(csr_pem=csr_pem)
        return await rpc.translated(stub.EnrolUnit(request, timeout=30), claim["hub"])


@app.command("list")
def list_units(context: typer.Context) -> None:
    """List the units."""
    answer = local.call(settings(context), "unit_list", {})
    settings(context).table(
        answer,
        ["id", "name", "region", "state", "cameras", "certificate ends"],
        (
            [unit[key] for key in ("id", "name", "region_code", "state", "cameras", "certificate_expire_time")]
            for unit in answer["units"]
        ),
    )


@app.command("revoke")
def revoke(
    context: typer.Context, unit_id: str = typer.Argument(..., metavar="ID"), reason: str = typer.Option(...)
) -> None:
    """Revoke a unit's certificates; its live calls are cut."""
    answer = local.call(settings(context), "unit_revoke", {"unit_id": unit_id, "reason": reason})
    settings(context).answer(answer, f"{answer['revoked']} certificates of unit {unit_id} revoked")
