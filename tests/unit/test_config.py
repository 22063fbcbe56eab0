"""The three layers of options, and what a mistake gets."""

from pathlib import Path

import pytest

from vidhub import config
from vidhub.errors import InvalidArgument


def load(tmp_path: Path, text: str = "", environment: dict[str, str] | None = None, **flags: object) -> config.Config:
    file = tmp_path / "vidhub.toml"
    file.write_text(text, encoding="utf-8")
    return config.load(file=file, environment=environment or {}, flags=flags)


def refusal(
    tmp_path: Path, text: str = "", environment: dict[str, str] | None = None, **flags: object
) -> InvalidArgument:
    with pytest.raises(InvalidArgument) as caught:
        load(tmp_path, text, environment, **flags)
    return caught.value


def test_defaults_hold_without_file_environment_and_flags(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert config.load(environment={}) == config.Config()


def test_a_flag_wins_over_the_environment_and_that_over_the_file(tmp_path):
    text = "[stream]\nlinger_s = 1\ngop_cache_bytes = 100000\n[hub]\nname = 'a'\n"
    options = config.load(
        file=_file(tmp_path, text),
        environment={"VIDHUB_STREAM__LINGER_S": "2.5", "VIDHUB_HUB__NAME": "b", "PATH": "/bin"},
        flags={"hub.name": "c", "public_url": None},
    )
    assert (options.stream.linger_s, options.stream.gop_cache_bytes, options.hub.name) == (2.5, 100_000, "c")


def test_what_the_examples_of_the_sdk_read_is_no_misspelt_option():
    assert config.load(environment={"VIDHUB_PASSWORD": "x"}) == config.load(environment={})


def test_explain_tells_where_each_value_came_from(tmp_path):
    shown = config.explain(
        file=_file(tmp_path, "[hub]\nname = 'a'\n"),
        environment={"VIDHUB_SOURCE__ALLOW": "127.0.0.0/8, 10.0.0.0/8"},
        flags={"bench": True},
    )
    by_key = {setting.key: (setting.value, setting.source) for setting in shown}
    assert by_key["hub.name"] == ("a", "file")
    assert by_key["source.allow"] == ("127.0.0.0/8, 10.0.0.0/8", "environment")
    assert by_key["bench"] == ("true", "flag")
    assert by_key["listen.http"] == ("127.0.0.1:8080", "default")


def _file(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "vidhub.toml"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("text", "environment", "key", "hint"),
    [
        ("[stream]\nlingers = 3\n", {}, "stream.lingers", "stream.linger_s"),
        ("linger_s = 3\n", {}, "linger_s", "stream.linger_s"),
        ("[strem]\nlinger_s = 3\n", {}, "strem.linger_s", "stream.linger_s"),
        ("", {"VIDHUB_STREAM__LINGER": "3"}, "stream.linger", "VIDHUB_STREAM__LINGER_S"),
    ],
)
def test_an_unknown_key_names_itself_and_the_one_meant(tmp_path, text, environment, key, hint):
    error = refusal(tmp_path, text, environment)
    assert error.reason == "CONFIG_KEY_UNKNOWN"
    assert error.violations[0].field == key
    assert hint in error.violations[0].description


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[stream]\nlinger_s = 'soon'\n", "stream.linger_s"),
        ("[stream]\nlinger_s = nan\n", "stream.linger_s"),
        ("[stream]\nlinger_s = true\n", "stream.linger_s"),
        ("[stream]\nlinger_s = -1\n", "stream.linger_s"),
        ("[stream]\ngop_cache_bytes = 1.5\n", "stream.gop_cache_bytes"),
        ("stream = 3\n", "stream"),
        ("[hub]\nlevel = 'village'\n", "hub.level"),
        ("[hub]\nregion = '36'\n", "hub.region"),
        ("[hub]\nid = 'a/b'\n", "hub.id"),
        ("[source]\nallow = ['ten']\n", "source.allow"),
        ("[source]\nallow = [10]\n", "source.allow"),
        ("[listen]\nhttp = 'somewhere'\n", "listen.http"),
        ("[listen]\nhttp = '127.0.0.1:99999'\n", "listen.http"),
        ("[listen]\nhttp = 'example.org:80'\n", "listen.http"),
        ("public_url = 'ftp://x'\n", "public_url"),
        ("public_url = 'http://x:port'\n", "public_url"),
        ("advertise = ['a b']\n", "advertise"),
        ("bench = 'perhaps'\n", "bench"),
        ("tls_cert = '/nowhere.pem'\n", "tls_cert"),
        ("store_url = 'mysql://x'\n", "store_url"),
    ],
)
def test_a_wrong_value_names_its_key(tmp_path, text, key):
    error = refusal(tmp_path, text)
    assert key in {violation.field for violation in error.violations}
    assert key in error.message


def test_every_mistake_is_told_at_once(tmp_path):
    error = refusal(tmp_path, "[stream]\nlinger_s = 'x'\n[hub]\nlevl = 'city'\n")
    assert {violation.field for violation in error.violations} == {"stream.linger_s", "hub.levl"}
    assert error.reason == "CONFIG_INVALID"


def test_a_file_that_is_named_must_be_there_and_be_toml(tmp_path):
    with pytest.raises(InvalidArgument, match="CONFIG_FILE_MISSING"):
        config.load(file=tmp_path / "none.toml", environment={})
    assert refusal(tmp_path, "[hub\n").reason == "CONFIG_FILE_UNREADABLE"


@pytest.mark.parametrize(
    ("given", "full"),
    [
        ("9000", "127.0.0.1:9000"),
        (":9000", "127.0.0.1:9000"),
        ("localhost:0", "127.0.0.1:0"),
        ("[::1]:9000", "[::1]:9000"),
        ("OFF", "off"),
    ],
)
def test_a_listener_is_completed(tmp_path, given, full):
    assert load(tmp_path, **{"listen.rtsp": given}).listen.rtsp == full


@pytest.mark.parametrize(
    ("rtsp", "udp"),
    [
        ("127.0.0.2:8554", "127.0.0.2:8556"),
        ("127.0.0.1:0", "127.0.0.1:0"),
        ("[::1]:9554", "[::1]:0"),
        ("off", "off"),
    ],
)
def test_media_by_udp_goes_along_with_an_rtsp_listener_that_is_moved(tmp_path, rtsp, udp):
    """Two hubs on one machine that are given every listener of the contract do not meet at a port of neither."""
    assert load(tmp_path, **{"listen.rtsp": rtsp}).listen.rtsp_udp == udp
    own = {"listen.rtsp": rtsp, "listen.rtsp_udp": "127.0.0.1:9000"}
    assert load(tmp_path, **own).listen.rtsp_udp == "127.0.0.1:9000"
    assert load(tmp_path).listen.rtsp_udp == "127.0.0.1:8556"


def test_a_listener_beyond_loopback_wants_tls(tmp_path):
    for name in ("http", "rtsp", "rtsp_udp", "metrics"):
        error = refusal(tmp_path, **{f"listen.{name}": "0.0.0.0:1234"})
        assert error.reason == "LISTENER_CLEARTEXT"
        assert error.violations[0].field == f"listen.{name}"
    for name in ("grpc", "webrtc", "rtsps"):  # these carry their own encryption
        load(tmp_path, **{f"listen.{name}": "0.0.0.0:1234", "advertise": "203.0.113.7"})
    load(tmp_path, **{"listen.http": "0.0.0.0:1234", "allow_cleartext": "1"})
    pem = tmp_path / "x.pem"
    pem.touch()
    load(tmp_path, **{"listen.http": "0.0.0.0:1234", "tls_cert": pem, "tls_key": str(pem)})


def test_a_certificate_without_its_key_is_refused(tmp_path):
    pem = tmp_path / "x.pem"
    pem.touch()
    assert refusal(tmp_path, tls_cert=pem).violations[0].field == "tls_cert"


def test_addresses_are_taken_apart():
    assert config.split_address("[::1]:80") == ("::1", 80)
    assert config.split_address("10.0.0.1:8080") == ("10.0.0.1", 8080)
    assert config.is_loopback("::1")
    assert not config.is_loopback("0.0.0.0")


def test_the_example_names_every_option_with_its_default():
    example = Path(__file__).parents[2] / "vidhub.example.toml"
    assert config.load(file=example, environment={}) == config.Config()
    assert {setting.source for setting in config.explain(file=example, environment={})} == {"file"}


@pytest.mark.parametrize("name", ["grpc", "rtsp", "rtsps", "webrtc"])
def test_a_listener_on_every_address_wants_to_know_what_clients_are_told(tmp_path: Path, name: str) -> None:
    flags = {f"listen.{name}": "0.0.0.0:1234", "allow_cleartext": "1"}
    error = refusal(tmp_path, **flags)
    assert [violation.reason for violation in error.violations] == ["ADVERTISE_MISSING"]
    load(tmp_path, **flags, advertise="203.0.113.7")
