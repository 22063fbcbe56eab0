"""Policy's answer as people get it: with what to do about a refusal."""

from __future__ import annotations

from vidhub.core import Core
from vidhub.errors import PermissionDenied
from vidhub.model import Action, Decision, Principal, Purpose

REMEDIES = {
    "NO_GRANT": "no grant of yours covers this camera and action: ask an approver for one",
    "PURPOSE_NOT_GRANTED": "your grant is for other purposes: ask an approver for this one",
    "ROLE_SEES_NO_VIDEO": "only operators see video, and each by grant",
    "CAMERA_QUARANTINED": "the camera is cut off by law or by its owner",
}


def judge(core: Core, principal: Principal, action: Action, camera_id: str, purpose: Purpose) -> Decision:
    """May they do this, now? Raises PermissionDenied with the reason; NotFound CAMERA_NOT_FOUND."""
    decision = core.authorise(principal, action, camera_id, purpose.kind)
    if not decision.allowed:
        reason = decision.reason or "NO_GRANT"
        raise PermissionDenied(reason, REMEDIES.get(reason, "policy forbids it"))
    return decision
