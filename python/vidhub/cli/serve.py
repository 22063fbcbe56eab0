"""`vidhub serve`: runs a hub until it is told to stop."""

from __future__ import annotations

import typer

from vidhub.cli.report import settings


def add_to(app: typer.Typer) -> None:
    app.command("serve")(serve)


def serve(
    context: typer.Context,
    http: str = typer.Option(None, help="Console, API, WHEP: ADDRESS:PORT or off."),
    grpc: str = typer.Option(None, help="gRPC for units and hubs."),
    rtsp: str = typer.Option(None, help="RTSP."),
    rtsp_udp: str = typer.Option(None, help="Media of RTSP by UDP: RTP here, RTCP on the next port."),
    rtsps: str = typer.Option(None, help="RTSP over TLS."),
    webrtc: str = typer.Option(None, help="WebRTC media."),
    metrics: str = typer.Option(None, help="Prometheus and health."),
    sip: str = typer.Option(None, help="GB/T 28181."),
    public_url: str = typer.Option(None, help="What clients are told for HTTP."),
    advertise: str = typer.Option(None, help="What clients are told for RTSP and WebRTC: ADDRESS[,…]."),
    tls_cert: str = typer.Option(None, help="Certificate chain of the HTTP port and of RTSPS, PEM."),
    tls_key: str = typer.Option(None, help="Its key, PEM."),
    allow_cleartext: bool = typer.Option(None, "--allow-cleartext", help="Listen beyond loopback without TLS."),
    trusted_proxies: str = typer.Option(None, help="Networks whose X-Forwarded-For is believed, CIDR[,…]."),
) -> None:
    """Run a hub. With --json one line says when everything listens, and where."""
    # The whole hub takes a second to import: only for commands that want it.
    import vidhub.app

    chosen = settings(context)
    config = chosen.load(
        {
            "listen.http": http,
            "listen.grpc": grpc,
            "listen.rtsp": rtsp,
            "listen.rtsp_udp": rtsp_udp,
            "listen.rtsps": rtsps,
            "listen.webrtc": webrtc,
            "listen.metrics": metrics,
            "listen.sip": sip,
            "public_url": public_url,
            "advertise": advertise,
            "tls_cert": tls_cert,
            "tls_key": tls_key,
            "allow_cleartext": allow_cleartext or None,
            "trusted_proxies": trusted_proxies,
        }
    )

    def ready(addresses: dict[str, object]) -> None:
        lines = [f"{name:8} {address}" for name, address in addresses.items() if address is not None]
        chosen.answer({"ready": addresses}, "\n".join(lines))

    raise typer.Exit(vidhub.app.serve(config, on_ready=ready))
