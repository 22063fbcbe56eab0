"""SessionService."""

from __future__ import annotations

from vidhub.access.sessions import Sessions
from vidhub.api import convert
from vidhub.api.call import Call
from vidhub.model import Profile
from vidhub.v1 import session_service_pb2 as pb


class SessionServicer:
    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def open_session(self, request: pb.OpenSessionRequest, call: Call) -> pb.OpenSessionResponse:
        opened = await self._sessions.open(
            call.caller,
            request.camera_id,
            convert.from_purpose(request.purpose),
            profile=Profile(request.profile) or Profile.AUTO,
        )
        return pb.OpenSessionResponse(
            session=convert.to_session(opened.session),
            ticket=opened.ticket.text,
            ticket_expire_time=convert.to_time(opened.ticket.expire_time),
            whep_url=opened.whep_url,
            mse_url=opened.mse_url,
            whip_url=opened.whip_url,
            rtsp_url=opened.rtsp_url,
            rtsp_user=opened.session.rtsp_user,
            rtsp_password=opened.session.rtsp_password,
            watermark=opened.watermark,
        )

    async def renew_session(self, request: pb.RenewSessionRequest, call: Call) -> pb.RenewSessionResponse:
        renewed = await self._sessions.renew(call.caller, request.session_id)
        return pb.RenewSessionResponse(
            session=convert.to_session(renewed.session),
            ticket=renewed.ticket.text,
            ticket_expire_time=convert.to_time(renewed.ticket.expire_time),
        )

    async def close_session(self, request: pb.CloseSessionRequest, call: Call) -> pb.CloseSessionResponse:
        await self._sessions.close(call.caller, request.session_id)
        return pb.CloseSessionResponse()

    async def list_sessions(self, request: pb.ListSessionsRequest, call: Call) -> pb.ListSessionsResponse:
        page = await self._sessions.list(
            call.caller,
            camera_id=request.camera_id,
            own=request.own,
            include_ended=request.include_ended,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return pb.ListSessionsResponse(
            sessions=[convert.to_listed(session, page.camera_names) for session in page.sessions],
            next_page_token=page.next_page_token,
        )

    async def terminate_session(self, request: pb.TerminateSessionRequest, call: Call) -> pb.TerminateSessionResponse:
        await self._sessions.terminate(call.caller, request.session_id, request.reason)
        return pb.TerminateSessionResponse()
