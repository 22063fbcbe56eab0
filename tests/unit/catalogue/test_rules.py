"""What a record must say, and the word for each thing it does not."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidhub.catalogue import rules
from vidhub.model import Camera, CameraStream, LegalRecord, Location, Profile

REGIONS = frozenset({"360602", "360681"}).__contains__


def camera(**changes: object) -> Camera:
    return replace(
        Camera(
            id="36060200111322000001",
            name="东门",
            unit_id="u1",
            region_code="360602",
            industry="11",
            place_category=5,
            location=Location(28.24, 117.03),
            streams=(CameraStream(Profile.MAIN, "rtsp://10.0.0.1:554/1", "admin", "secret"),),
            legal=LegalRecord("赣公通〔2025〕1号", "校园安全", "校门外人行道", 30),
        ),
        **changes,
    )


def reasons(one: Camera) -> set[tuple[str, str]]:
    return {(v.field, v.reason) for v in rules.violations(rules.tidy(one), REGIONS)}


def test_a_whole_record_breaks_no_rule():
    assert reasons(camera()) == set()
    assert reasons(camera(id="", legal=LegalRecord("a", "b", "c", 90, "sign", "2026-01-31"))) == set()
    consented = LegalRecord("a", "b", "c", 30, near_secret_unit=True, consent="某部复函〔2026〕3号，2026-01-31")
    assert reasons(camera(legal=consented)) == set()


@pytest.mark.parametrize(
    ("changes", "field", "reason"),
    [
        ({"id": "7"}, "id", "ID_INVALID"),
        ({"name": "  "}, "name", "NAME_MISSING"),
        ({"name": "a\nb"}, "name", "NAME_INVALID"),
        ({"name": "x" * 129}, "name", "NAME_INVALID"),
        ({"region_code": ""}, "region_code", "REGION_MISSING"),
        ({"region_code": "999999"}, "region_code", "REGION_UNKNOWN"),
        ({"industry": ""}, "industry", "INDUSTRY_MISSING"),
        ({"industry": "60"}, "industry", "INDUSTRY_UNKNOWN"),
        ({"place_category": 0}, "place_category", "PLACE_MISSING"),
        ({"place_category": 90}, "place_category", "PLACE_FORBIDDEN"),
        ({"place_category": 93}, "place_category", "PLACE_FORBIDDEN"),
        ({"place_category": 50}, "place_category", "PLACE_UNKNOWN"),
        ({"location": Location(0, 0)}, "location", "LOCATION_MISSING"),
        ({"location": Location(91, 117)}, "location.latitude", "LOCATION_INVALID"),
        ({"location": Location(28, float("nan"))}, "location.longitude", "LOCATION_INVALID"),
        ({"streams": ()}, "streams", "STREAM_MISSING"),
        ({"legal": LegalRecord("", "b", "c", 30)}, "legal.place_basis", "LEGAL_BASIS_MISSING"),
        ({"legal": LegalRecord("a", " ", "c", 30)}, "legal.purpose", "LEGAL_PURPOSE_MISSING"),
        ({"legal": LegalRecord("a", "b", "", 30)}, "legal.scope", "LEGAL_SCOPE_MISSING"),
        ({"legal": LegalRecord("a", "b", "c")}, "legal.retention_days", "RETENTION_MISSING"),
        ({"legal": LegalRecord("a", "b", "c", 29)}, "legal.retention_days", "RETENTION_TOO_SHORT"),
        ({"legal": LegalRecord("a", "b", "c", 10**6)}, "legal.retention_days", "RETENTION_INVALID"),
        ({"legal": LegalRecord("a", "b", "c", 30, "s", "soon")}, "legal.signage_date", "DATE_INVALID"),
        ({"legal": LegalRecord("a", "b", "c", 30, near_secret_unit=True)}, "legal.consent", "CONSENT_MISSING"),
        ({"legal": LegalRecord("a", "b", "c", 30, "", "", True, " \n")}, "legal.consent", "CONSENT_MISSING"),
        ({"legal": LegalRecord("a", "b", "c", 30, "", "", True, "x" * 501)}, "legal.consent", "TEXT_INVALID"),
        ({"device": (("ip_address", "ten"),)}, "device.ip_address", "DEVICE_INVALID"),
        ({"legal": LegalRecord("x" * 513, "b", "c", 30)}, "legal.place_basis", "TEXT_INVALID"),
        ({"device": (("height_m", -1000.5),)}, "device.height_m", "DEVICE_INVALID"),
        ({"device": (("max_view_distance_m", -0.5),)}, "device.max_view_distance_m", "DEVICE_INVALID"),
        ({"device": (("model", "x" * 129),)}, "device.model", "DEVICE_INVALID"),
        ({"device": (("mac", "00:11"),)}, "device.mac", "DEVICE_INVALID"),
    ],
)
def test_a_broken_rule_names_its_field_and_a_stable_word(changes, field, reason):
    assert (field, reason) in reasons(camera(**changes))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://10.0.0.1/", "URL_SCHEME"),
        ("file:///etc/passwd", "URL_SCHEME"),
        ("10.0.0.1", "URL_SCHEME"),
        ("rtsp://", "URL_INVALID"),
        ("rtsp://[::1", "URL_INVALID"),
        ("rtsp://h:99999/", "URL_INVALID"),
        ("rtsp://h:0/", "URL_INVALID"),
        ("rtsp://h/a b", "URL_INVALID"),
        ("rtsp://h/\r\nX: y", "URL_INVALID"),
        ("rtsp://admin:x@h/1", "URL_HAS_CREDENTIALS"),
        ("rtsp://@h/1", "URL_HAS_CREDENTIALS"),
        ("rtsp://h/" + "x" * 3000, "URL_INVALID"),
    ],
)
def test_an_address_is_one_of_rtsp_without_credentials(url, reason):
    found = reasons(camera(streams=(CameraStream(Profile.MAIN, url),)))
    assert {word for _, word in found} == {reason}


def test_profiles_are_main_and_sub_each_once():
    main = CameraStream(Profile.MAIN, "rtsp://h/1")
    assert ("streams[1].profile", "PROFILE_DUPLICATE") in reasons(camera(streams=(main, main)))
    assert ("streams[0].profile", "PROFILE_INVALID") in reasons(camera(streams=(replace(main, profile=Profile.AUTO),)))
    assert reasons(camera(streams=(replace(main, profile=Profile.UNSPECIFIED),))) == set()
    assert reasons(camera(streams=(CameraStream(Profile.MAIN),))) == set()


def test_a_password_needs_its_username():
    stream = CameraStream(Profile.MAIN, "rtsp://h/1", "", "secret")
    assert ("streams[0].username", "USERNAME_MISSING") in reasons(camera(streams=(stream,)))


def test_what_the_protos_let_in_is_not_refused_for_its_length_or_depth():
    """The reference says 512 characters of ground, purpose and scope, and a height from -1,000 m: of an underpass."""
    longest = "x" * 512
    found = reasons(camera(legal=LegalRecord(longest, longest, longest, 30), device=(("height_m", -1000.0),)))
    assert found == set()


def test_a_device_text_with_a_line_break_is_told_what_is_wrong_with_it():
    (found,) = rules.violations(camera(device=(("model", "a\u2028b"),)), REGIONS)
    assert (found.field, found.description) == (
        "device.model",
        "at most 128 characters, and no control characters",
    )


def test_other_public_places_are_exempt_from_thirty_days():
    assert reasons(camera(place_category=12, legal=LegalRecord("a", "b", "c", 7))) == set()


@given(st.text(max_size=60), st.text(max_size=60), st.floats(), st.integers())
def test_nothing_that_comes_in_breaks_the_rules_themselves(text, url, number, place):
    rules.violations(
        rules.tidy(
            camera(
                id=text,
                name=text,
                region_code=text,
                industry=text,
                place_category=place,
                location=Location(number, number, text),
                streams=(CameraStream(Profile.MAIN, "rtsp://" + url, text, text),),
                legal=LegalRecord(text, text, text, 30, text, text),
                device=(("mac", text), ("height_m", number)),
            )
        ),
        REGIONS,
    )


def test_no_description_repeats_a_password():
    stream = CameraStream(Profile.MAIN, "rtsp://admin:hunter22@h/1", "\x00", "hunter22")
    for violation in rules.violations(camera(streams=(stream,)), REGIONS):
        assert "hunter22" not in violation.description
