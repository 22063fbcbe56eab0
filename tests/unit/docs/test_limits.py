"""docs/reference/limits.md says what the code says: row by row, bound by bound."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "reference" / "limits.md"
ROWS = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]

# Where the constant is, its name, how its row begins, how the row writes it.
HELD = """
server/limits.rs MAX_HEADERS | headers of a request | 100
server/limits.rs MAX_HEADER_BYTES | headers of a request | 16 KiB
server/limits.rs HEADER_TIMEOUT | time for the TLS handshake, for each request's | 10 s
server/limits.rs BODY_TIMEOUT | time for an SDP body | 10 s
server/limits.rs MAX_SDP_BODY | body: SDP, API | 64 KiB
server/limits.rs MAX_API_BODY | body: SDP, API | 8 MiB
server/limits.rs MAX_BODY_TIME | body for the application | 5 min
server/limits.rs MAX_STREAMS | streams of one HTTP/2 connection | 100
server/limits.rs IDLE_TIMEOUT | HTTP/2 connection without a request | 60 s
server/proxy.rs MAX_REQUESTS | requests under way to the application | 4,096
server/proxy.rs CONNECT_WITHIN | time to reach the application | 2 s
api/__init__.py MESSAGE_MAX_BYTES | message | 8 MiB
api/validate.py WHOLE_BYTES | message of which every broken rule is told | 8 KiB
api/cameras.py MOST_IN_BATCH | cameras in a batch | 1,000
api/cameras.py _READ | records of a batch read, judged | 50
api/cameras.py _TURN | records of a batch read, judged | 25
places/outlines.py MOST_CELLS | places whose region was looked up | 65,536
places/outlines.py LARGEST_BYTES | outlines of regions | 16 MiB
places/outlines.py MOST_POINTS | outlines of regions | 200,000
store/duplicates.py MOST_GROUPS | cameras registered twice | 5,000
store/duplicates.py MOST_IN_GROUP | cameras registered twice | 16
cli/camera_xlsx.py LARGEST_BYTES | a workbook that `vidhub camera register` reads | 256 MiB
cli/camera_xlsx.py LARGEST_UNPACKED_BYTES | a workbook that `vidhub camera register` reads | 1 GiB
cli/camera_xlsx.py MOST_CELLS | a workbook that `vidhub camera register` reads | 20,000,000
cli/camera_csv.py LONGEST_CELL | a workbook that `vidhub camera register` reads | 8 KiB
server/rtsp/connection.rs MAX_REFUSED_LOGINS | refused logins on one connection | 6
hub/log.rs MAX_LIBRARY_LINES | lines of the log that libraries of the core | 20
hub/log.rs LIBRARY_WINDOW | lines of the log that libraries of the core | 60 s
hub/log.rs MAX_VALUE_CHARS | lines of the log that libraries of the core | 1,000
wire/rtp.rs BROWSER_PACKETS | packets of a keyframe for a browser | 2,048
sink/rtsp/mod.rs STALL_TIMEOUT | no progress while data waits | 10 s
sink/transport.rs SEND_BUFFER_BYTES | send buffer in the kernel | 192 KiB
server/rtsp/announced.rs SOCKET_BUFFER_BYTES | room for what a publisher sends at once | 1 MiB
gate/pushes.rs HAND_OVER | time of the publisher before to stop | 5 s
sink/transport.rs TLS_BUFFER_BYTES | ciphertext that waits | 64 KiB
server/rtsp/pair.rs FIRST_CLIENT_PORT | ports of a player by UDP | 1024
server/rtsp/pair.rs MAX_RTCP_BYTES | packet of RTCP from a player | 2 KiB
sink/rtsp/datagrams.rs BUCKET_BYTES | what leaves at once by UDP | 64 KiB
sink/rtsp/datagrams.rs PACE_BYTES | what leaves at once by UDP | 4 MiB
sink/rtsp/media.rs SILENCE_TIMEOUT | a player by UDP without request or report | 90 s
sink/rtsp/media.rs REFUSED_TIMEOUT | a player's host refuses its packets | 10 s
hub/relays.rs MAX_RELAYS | relays to other hubs | 1,024
sink/rtsp/relay.rs MAX_QUEUE_BYTES | backlog of a relay | 512 KiB
peer.rs MAX_ADDRESSES | addresses of the other hub's name | 4
peer.rs DIAL_TIMEOUT | addresses of the other hub's name | 5 s
peer.rs MAX_URL | address, ticket, certificate authorities of a relay | 512 B
peer.rs MAX_TICKET | address, ticket, certificate authorities of a relay | 1 KiB
peer.rs MAX_CA_PEM | address, ticket, certificate authorities of a relay | 64 KiB
sink/whep/offer.rs MAX_SECTIONS | media sections of an offer | 16
sink/whep/viewer.rs CONNECT_WITHIN | time to be connected after the answer | 10 s
server/webrtc/peers.rs RESTART_EVERY | ICE restarts of one viewer | one a second
sink/whep/restart.rs CHECKED_WITHIN | time for the checks that follow one | 10 s
sink/whep/history.rs MAX_PACKETS | packets and units kept for retransmission | 6,144
sink/whep/history.rs MAX_UNITS | packets and units kept for retransmission | 1,024
sink/whep/history.rs MAX_AGE | packets and units kept for retransmission | 3 s
sink/whep/history.rs MAX_REPEATS | retransmission of one packet | 10
sink/whep/media.rs AT_ONCE | one WebRTC viewer over UDP at once | 48 KiB
sink/whep/crowd.rs MAKES_WAY | of it, once a viewer has its first picture | 200 ms
sink/whep/pace.rs LATE | made up for when the turn of a viewer | 40 ms
sink/whep/pace.rs LATE_OCTETS | made up for when the turn of a viewer | 16 KiB
sink/whep/history.rs RESERVE | retransmission to one viewer | 2,048
sink/whep/replays.rs EVERY | the GOP cache again | once a second
sink/whep/rate.rs LONGEST_ASKED | what a narrow link is asked with | 40 s
sink/whep/rate.rs FIRST_PAUSE | what a narrow link is asked with | 20 s
sink/whep/probe.rs TOLD_AT_LAST | for the viewer to tell what became of that | 8 s
server/webrtc/mod.rs LULL | reports of a WebRTC viewer that ask for nothing | 4 ms
sink/whep/link.rs MAX_DEPARTURES | packets whose arrival a viewer may tell of | 4,096
sink/whep/link.rs QUEUE | a link that takes less than the stream | 150 ms
sink/whep/rate.rs LONGEST_PAUSE | trial of the whole stream on such a link | 160 s
sink/whep/crossing.rs PATIENCE | wait for the other stream's picture | 15 s
sink/whep/way.rs MAX_REMOTES | addresses one viewer or publisher sends from | 8
sink/whep/way.rs MAX_CHECKED | addresses that checks of one ICE session | 64
server/webrtc/inbound.rs VIEWER_PER_S | datagrams from a viewer; from a publisher | 1,000
server/webrtc/inbound.rs PUBLISHER_PER_S | datagrams from a viewer; from a publisher | 10,000
server/webrtc/inbound.rs STRANGERS_PER_S | connectivity checks in the name of one of them | 50
sink/whep/connection.rs CONSENT | media to an address without a check | 30 s
sink/whep/connection.rs PROOF | a viewer followed by a check alone | 10 s
server/webrtc/tcp.rs MAX_CONNECTIONS | TCP connections in all | 4,096
server/webrtc/peers.rs MAX_CONNECTIONS | TCP connections in all | 8
server/webrtc/tcp.rs MAX_STRANGERS | TCP connections that have not passed | 2,048
server/webrtc/tcp.rs MAX_STRANGERS_PER_ADDRESS | TCP connections that have not passed | 256
server/webrtc/tcp.rs PROVE_WITHIN | time to pass one | 10 s
server/webrtc/connection.rs FULL_BYTES | the same, sealed and framed | 128 KiB
server/webrtc/connection.rs STALL_TIMEOUT | no progress while data waits; no connection | 10 s
server/webrtc/tcp.rs SEND_BUFFER_BYTES | send buffer in the kernel, of each connection | 192 KiB
sink/frames/queue.rs MAX_UNITS | frames waiting for one reader in Python | 4,096
hub/frames.rs MAX_READERS | readers of frames at once | 1,024
picture/decode.py LONGEST_SIDE | picture of a snapshot | 8,192
picture/still.py MOST_OCTETS | JPEG of a snapshot | 6 MiB
server/mse.rs MAX_STRANGERS | connections that have shown no ticket yet | 2,048
server/mse.rs MAX_STRANGERS_PER_ADDRESS | connections that have shown no ticket yet | 256
server/mse.rs MAX_REFUSALS | connections that are being told so | 64
server/mse.rs MAX_FIRST_MESSAGE | first message | 16 KiB
server/mse.rs MAX_MIMES | first message | 64
server/mse.rs FIRST_MESSAGE_WITHIN | time to the first message | 10 s
sink/mse/mod.rs MAX_MESSAGE | what a viewer sends after that | 1 KiB
sink/mse/mod.rs INBOUND_BUDGET | what a viewer sends after that | 64 KiB
sink/mse/mod.rs SILENCE_TIMEOUT | no sign of the viewer, pongs included | 60 s
sink/mse/mod.rs PING_EVERY | no sign of the viewer, pongs included | 20 s
sink/mse/mod.rs CLOSE_TIMEOUT | time to close after the reason was sent | 2 s
hub/mod.rs MAX_STREAMS | streams at once | 4,096
gate/sessions.rs SESSIONS | open sessions of the hub | 65,536
access/sessions.py MOST_PER_PRINCIPAL | open sessions of the hub | 64
access/sessions.py MOST_PUSHED | open sessions of the hub | 4,096
turns.py PATIENCE_S | a piece of an import that gives way | 50 ms
store/writer.py _BULK_BUDGET_S | a piece of an import that gives way | 20 ms
gate/sessions.rs PENDING_PER_SESSION | attempts of a session that are being opened | 8
access/grant_rules.py LONGEST | a grant: its life | 366 days
access/grant_rules.py _MOST_ENTRIES | a grant: its life | 1,000
access/explain.py MOST_LOOKED_AT | grants of a person and their department | 10,000
access/explain.py MOST_GRANTS | grants of a person and their department | 100
store/changes.py KEEP | change log, state log | 65,536
audit/log.py MOST_LOOKED_THROUGH | entries of the register of use that one page | 20,000
gate/events.rs NOTICES | events on their way to Python | 16,384
identity/people.py MOST_USERS | accounts, units of a hub | 10,000
identity/units.py MOST_UNITS | accounts, units of a hub | 10,000
identity/directory.py MOST_DEPARTMENTS | departments that a page of users tells | 1,000
identity/accounts.py MAX_NAME | name of an account | 64
identity/accounts.py MAX_DEPARTMENT | name of an account | 128
identity/units.py MOST_CERTIFICATES | certificates of a unit that are shown | 100
identity/passwords.py MIN_LENGTH | password | 10
identity/passwords.py MAX_LENGTH | password | 256
identity/people.py ONE_TIME_LIFE | one-time password | 72 hours
identity/passwords.py _MAX_WAITING | hashes at once, waiting | 64
identity/backoff.py FREE | attempts at one account from one address | 5
identity/backoff.py MAX_WAIT_S | attempts at one account from one address | 15 min
identity/backoff.py FREE_OF_NAME | attempts at one account from wherever | 20
identity/backoff.py FREE_OF_ADDRESS | attempts at one account from wherever | 50
identity/backoff.py _MAX_KEYS | addresses, accounts and devices | 65,536
identity/logins.py MAX_LOGINS | logins of one person at once | 16
identity/logins.py LOGIN_LIFE | logins of one person at once | 12 h
identity/tokens.py ACCESS_LIFE | logins of one person at once | 5 min
store/users.py _MAX_USED | used refresh tokens of a login | 512
identity/logins.py MAX_CLIENT | what a client calls itself | 200
identity/tokens.py DEVICE_LIFE | mark that a login leaves on a device | 180 days
access/purpose_desk.py MOST_IN_FORCE | purposes in force; ever | 64
access/purpose_desk.py MOST_EVER | purposes in force; ever | 256
app/alarms.py MOST_ADDRESSES | refusals of one reason and address | 64
app/alarms.py SESSIONS_FOLD_S | sessions on the cameras of one unit | an hour
catalogue/watch.py MOST_WATCHERS | watchers | 256
link/events.py MOST_EVENTS | events of one linked hub that last | 500
link/rules.py MOST_HUBS | linked hubs, invited ones among them | 64
identity/ca.py CLAIM_LIFE | an invitation | 24 hours
link/keys.py _FORGET_S | an invitation | 48 hours
identity/register.py MAX_LIVE | good certificates of one hub | 8
link/greeting.py HELLO_S | time to Hello, each way | 10 s
link/live.py SILENCE_S | a link without a word from the other side | 10 s
link/live.py HEARTBEAT_S | a link without a word from the other side | 3 s
link/live.py MOST_MESSAGE_BYTES | message; a piece of catalogue | 256 KiB
link/live.py BULK_BYTES | message; a piece of catalogue | 32 KiB
link/live.py MOST_READ_BYTES | message; a piece of catalogue | 512 KiB
link/live.py _MOST_URGENT | urgent messages that wait to be sent | 16,384
link/live.py _MOST_BULK | bulky messages that wait to be sent | 2
link/live.py _MOST_WAITING | bulky messages that wait to be sent | 64
link/links.py FAREWELL_S | time for a farewell to be taken | 1 s
link/dialer.py FIRST_PAUSE_S | pause between attempts to dial | 1 s
link/dialer.py LONGEST_PAUSE_S | pause between attempts to dial | 30 s
link/rules.py MOST_ABOVE | hubs named in `above` | 64
link/probe.py HOP_S | one hop of `doctor` | 5 s
api/grpc_server.py CONNECTION_AGE_MS | life of a gRPC connection | 24 hours
api/grpc_server.py CONNECTION_AGE_GRACE_MS | life of a gRPC connection | 5 minutes
link/asking.py ANSWER_S | time for a decision of the next hub | 5 s
link/asking.py MOST_HUBS | hubs on the way | 8
link/answering.py MOST_VIEWS | open views over one link | 4,096
link/answering.py MOST_UNDER_WAY | open views over one link | 128
link/answering.py MOST_PAST | ends that are remembered | 16,384
link/grants.py _MOST_BYTES | grant on a link | 2 KiB
link/grants.py LEEWAY_S | grant on a link | 60 s
link/allowance.py BURST | views and streams that one linked hub asks for | 500
link/allowance.py PER_S | views and streams that one linked hub asks for | 50
audit/refusals.py MAX_APART_OF_HUB | refusals of one linked hub on record | 128
link/supplying.py MOST_ORDERS | streams ordered by one linked hub | 4,096
link/ordering.py ANSWER_S | time for the answer to an order | 5 s
link/ordering.py MEDIA_S | time for the answer to an order | 15 s
link/guests.py TICKET_S | ticket of an order | 60 s
link/guests.py LIFE | ticket of an order | 7 days
link/sending.py WINDOW | deltas and ranges without confirmation | 4
link/catalogue_in.py MOST_CAMERAS | cameras by one link | 1,000,000
store/remote_cameras.py MOST_CONFLICTS | cameras that are not taken | 10,000
link/conflicts.py MOST_TOLD_CONFLICTS | cameras that are not taken | 1,000
link/sending.py MOST_ASKED | ranges that a hub asks for | 2,000
access/shares.py MOST_SHARES | sharing rules of one hub | 256
access/shares.py _MOST_ENTRIES | sharing rules of one hub | 1,000
link/notices.py _MOST_OCTETS | rules that another hub tells us of | 4 MiB
backup/archive.py MOST_FILES | files in a backup | 256
backup/archive.py LARGEST_FILE | files in a backup | 1 MiB
backup/restore.py _SPARE_BYTES | room beside the data directory when restoring | 64 MiB
backup/take.py _ATTEMPTS | copies begun again since keys changed | 3
audit/export.py _STRETCH | entries of the register, checkpoints | 2,000
audit/exported.py _LONGEST_LINE | a line of an exported file | 1 MiB
hub/examining.rs MAX_EXAMINATIONS | cameras examined at once | 4
hub/examining.rs LONGEST | cameras examined at once | 50 s
doctor/database.py PATIENCE_S | check of every page of the store | 30 s
doctor/ports.py _MOST_PROCESSES | processes looked through | 10,000
doctor/keys.py _MOST | processes looked through | 10,000
"""
_UNITS = {
    **{"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30},
    **{"ms": 0.001, "s": 1, "min": 60, "minutes": 60, "h": 3600, "hours": 3600, "days": 86_400},
}
_WORDS = {"one a second": 1, "once a second": 1, "an hour": 3600}


def lines() -> list[tuple[str, str, str, str]]:
    """(file, constant, row, shown)."""
    found = []
    for line in HELD.strip().splitlines():
        place, row, shown = (part.strip() for part in line.split(" | "))
        file, constant = place.split()
        found.append((file, constant, row, shown))
    return found


def meant(shown: str) -> float:
    """Seconds, octets or a number."""
    if shown in _WORDS:
        return _WORDS[shown]
    number, _, unit = shown.partition(" ")
    return float(number.replace(",", "")) * (_UNITS[unit] if unit else 1)


def coded(file: str, constant: str) -> float:
    """The constant's value in the source: durations in seconds."""
    tree = ROOT / ("rust/src" if file.endswith(".rs") else "python/vidhub") / file
    text = tree.read_text(encoding="utf-8")
    if file.endswith(".rs"):
        said = re.search(rf"^\s*(?:pub(?:\(\w+\))? )?const {constant}: [^=]+ = ([^;]+);", text, re.MULTILINE)
    else:
        said = re.search(rf"^{constant} = (.+?)(?:  #.*)?$", text, re.MULTILINE)
    assert said is not None, f"{file} has no {constant}"
    value = said[1]
    per_ms = constant.endswith("_MS") or "from_millis" in value
    value = re.sub(r"Duration::from_(?:secs|millis)\(([^)]+)\)", r"\1", value)
    for unit, seconds in (("days", 86_400), ("hours", 3600), ("minutes", 60), ("seconds", 1)):
        value = re.sub(rf"timedelta\({unit}=([^)]+)\)", rf"(\1) * {seconds}", value)
    return _worked_out(ast.parse(value, mode="eval").body) * (0.001 if per_ms else 1)


def _worked_out(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return _worked_out(left) * _worked_out(right)
        case ast.BinOp(left=left, op=ast.LShift(), right=right):
            return int(_worked_out(left)) << int(_worked_out(right))
    raise AssertionError(f"no number: {ast.unparse(node)}")


@pytest.mark.parametrize(("file", "constant", "row", "shown"), lines(), ids=lambda text: text.replace(" ", "-"))
def test_the_page_says_what_the_code_says(file: str, constant: str, row: str, shown: str) -> None:
    rows = [line for line in ROWS if line.startswith(f"| {row}")]
    assert rows, f"no row begins with {row!r}"
    bounds = " ".join(cell for line in rows for cell in line.split(" | "))
    assert re.search(rf"(?<![\d,.]){re.escape(shown)}(?!\d|[,.]\d)", bounds), f"{bounds} does not say {shown}"
    assert coded(file, constant) == pytest.approx(meant(shown))


def test_a_difference_is_seen() -> None:
    assert coded("server/limits.rs", "MAX_HEADERS") != meant("101")
    assert (meant("16 KiB"), meant("1,024"), meant("50 ms")) == (16_384, 1_024, 0.05)


def test_most_rows_are_held() -> None:
    """A new row is held as well, unless what bounds it is no constant; then the others still outnumber those."""
    held = {line for line in ROWS for _, _, row, _ in lines() if line.startswith(f"| {row}")}
    bounded = {line for line in ROWS if not line.startswith(("| what ", "| ---"))}
    assert len(held) >= 0.6 * len(bounded), f"{len(held)} of {len(bounded)}"
