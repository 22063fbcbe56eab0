"""AuditService: reads and proves the register of use."""

from __future__ import annotations

from vidhub.api import convert
from vidhub.api.call import Call
from vidhub.audit import AuditLog
from vidhub.errors import PermissionDenied
from vidhub.model import Principal, PrincipalKind, Role
from vidhub.v1 import audit_service_pb2 as pb

PAGE_SIZE = 100
_READ_ALL = frozenset({Role.SUPERVISOR, Role.AUDITOR})


class AuditServicer:
    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit

    async def list_entries(self, request: pb.ListEntriesRequest, call: Call) -> pb.ListEntriesResponse:
        page = await self._audit.list(
            camera_id=request.camera_id,
            principal=request.principal,
            trace_id=request.trace_id,
            session_id=request.session_id,
            action=request.action,
            purpose_kind=request.purpose_kind,
            result=request.result,
            unit_id=_own_unit(call.caller),
            start=convert.from_time(request, "from"),
            end=convert.from_time(request, "to"),
            limit=request.page_size or PAGE_SIZE,
            after=request.page_token,
        )
        return pb.ListEntriesResponse(
            entries=[convert.to_entry(entry) for entry in page.entries],
            next_page_token=page.next_after,
            searched_to=convert.to_time(page.searched_to),
        )

    async def verify_chain(self, _request: pb.VerifyChainRequest, _call: Call) -> pb.VerifyChainResponse:
        verdict = await self._audit.verify()
        chain_id, seq = verdict.first_bad or ("", 0)
        return pb.VerifyChainResponse(
            intact=verdict.intact,
            entries=verdict.entries,
            chain_id=chain_id,
            first_bad_seq=seq,
            description=verdict.reason,
        )


def _own_unit(principal: Principal) -> str:
    """The unit whose entries the caller is kept to; empty for those who read all."""
    if principal.kind is PrincipalKind.USER and principal.roles & _READ_ALL:
        return ""
    if not principal.unit_id:
        raise PermissionDenied("UNIT_MISSING", "your account belongs to no unit: an administrator can set one")
    return principal.unit_id
