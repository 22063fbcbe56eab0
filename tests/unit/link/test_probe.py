"""The way to an upper hub, hop by hop: each failure has its name, from real sockets and a real server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from support.edges import Authority, Edges, Identity, served

from vidhub.link import probe
from vidhub.link.keys import LinkIdentity
from vidhub.link.probe import Hop, hops


def shown(identity: Identity) -> LinkIdentity:
    certificate = x509.load_pem_x509_certificate(identity.certificate)
    return LinkIdentity(
        identity.certificate, identity.key, certificate.not_valid_before_utc, certificate.not_valid_after_utc
    )


async def way(address: str, authority: Authority, identity: LinkIdentity | None) -> list[Hop]:
    return [hop async for hop in hops(address, authority.pem.decode(), identity, what="link")]


def last(found: list[Hop]) -> tuple[str, str]:
    assert all(hop.ok for hop in found[:-1])
    assert found[-1].message
    assert found[-1].ok or found[-1].remedy
    return found[-1].name, found[-1].reason


@pytest.fixture
async def edges() -> AsyncIterator[Edges]:
    async with served() as both:
        yield both


def by_name(edges: Edges) -> str:
    return f"localhost:{edges.grpc_address.rpartition(':')[2]}"


async def test_a_way_that_is_good(edges: Edges) -> None:
    found = await way(by_name(edges), edges.authority, shown(edges.identities["hub/h2"]))
    assert [hop.name for hop in found] == ["link.own_certificate", "link.name", "link.tcp", "link.tls"]
    assert all(hop.ok for hop in found), found


async def test_a_certificate_that_the_other_side_does_not_take(edges: Edges) -> None:
    stranger = Authority("another").issue(uri="vidhub://h1/hub/h2")
    found = await way(by_name(edges), edges.authority, shown(stranger))
    assert last(found) == ("link.tls", "LINK_TLS")
    assert "our certificate" in found[-1].message


async def test_a_certificate_of_another_authority(edges: Edges) -> None:
    found = await way(by_name(edges), Authority("another"), shown(edges.identities["hub/h2"]))
    assert last(found) == ("link.tls", "LINK_TLS")
    assert "localhost" in found[-1].message


async def test_a_certificate_that_does_not_name_the_address(edges: Edges) -> None:
    found = await way(edges.grpc_address, edges.authority, shown(edges.identities["hub/h2"]))
    assert last(found) == ("link.tls", "LINK_TLS")
    assert "--advertise" in found[-1].remedy


@pytest.mark.parametrize(("days", "word"), [((-3, -1), "ended"), ((1, 2), "begins")])
async def test_our_own_certificate_out_of_its_time(edges: Edges, days: tuple[int, int], word: str) -> None:
    old = edges.authority.issue(uri="vidhub://h1/hub/h2", days=days)
    found = await way(by_name(edges), edges.authority, shown(old))
    assert last(found) == ("link.own_certificate", "LINK_TLS")
    assert word in found[-1].message


async def test_a_name_that_nobody_knows(edges: Edges) -> None:
    found = await way("nowhere.invalid:50051", edges.authority, None)
    assert last(found) == ("link.name", "LINK_NAME")


async def test_a_port_where_nobody_listens(edges: Edges) -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    assert last(await way(f"127.0.0.1:{port}", edges.authority, None)) == ("link.tcp", "LINK_REFUSED")


@contextlib.asynccontextmanager
async def listener(says: bytes) -> AsyncIterator[str]:
    held: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)
        if says:
            await reader.read(1)
            writer.write(says)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in held:
            writer.close()


async def test_one_that_takes_the_connection_and_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "HOP_S", 0.5)
    async with listener(b"") as address:
        assert last(await way(address, Authority(), None)) == ("link.tls", "LINK_SILENT")


async def test_a_port_of_something_else() -> None:
    async with listener(b"HTTP/1.1 400 Bad Request\r\n\r\n") as address:
        assert last(await way(address, Authority(), None)) == ("link.tls", "LINK_TLS")


def test_a_certificate_is_renewed_when_two_thirds_of_its_life_are_over() -> None:
    from vidhub.link.renewal import is_due

    begin = datetime(2026, 1, 1, tzinfo=UTC)
    identity = LinkIdentity(b"", b"", begin, begin + timedelta(days=300))
    assert [is_due(identity, begin + timedelta(days=days)) for days in (0, 199, 201, 400)] == [False, False, True, True]
