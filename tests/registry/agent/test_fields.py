import pytest

from registry.agent.errors import Undecodable
from registry.agent.fields import Fields, decode_object, read_whole


def test_keys_are_read_in_camel_and_snake_case() -> None:
    for key in ("ServiceName", "servicename", "service_name"):
        assert Fields({key: "web"}).text("ServiceName") == "web"


def test_null_is_absent() -> None:
    fields = Fields({"Tags": None, "Port": None})
    assert fields.texts("Tags") == ()
    assert fields.integer("Port") == 0
    fields.done()


def test_an_unknown_field_is_named() -> None:
    with pytest.raises(Undecodable, match=r'unknown field "Check\.Intervall"'):
        Fields({"Check": {"Intervall": "10s"}}).child("Check", lambda check: check.text("Interval"))


@pytest.mark.parametrize(("value", "seconds"), [("10s", 10), (10**9, 1), (None, 0), ("", 0)])
def test_durations_are_go_strings_or_nanoseconds(value: object, seconds: float) -> None:
    assert Fields({"TTL": value}).duration_s("TTL") == seconds


@pytest.mark.parametrize(
    ("raw", "read"),
    [
        ({"A": 1}, "text"),
        ({"A": "1"}, "integer"),
        ({"A": True}, "integer"),
        ({"A": 2**70}, "integer"),
        ({"A": 1}, "boolean"),
        ({"A": "x"}, "texts"),
        ({"A": [1]}, "texts"),
        ({"A": {"k": 1}}, "text_mapping"),
        ({"A": "soon"}, "duration_s"),
        ({"A": 1.5}, "duration_s"),
        ({"A": "x" * 9000}, "text"),
        ({"A": ["x"] * 2000}, "texts"),
    ],
)
def test_a_wrong_type_or_size_is_refused_with_the_field(raw: dict[str, object], read: str) -> None:
    with pytest.raises(Undecodable, match=r"^Svc\.A"):
        getattr(Fields(raw, "Svc"), read)("A")


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b"1", b'{"a":NaN}', b"\xff", b"[" * 5000, b'{"a":' * 40 + b"1" + b"}" * 40]
)
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(Undecodable):
        decode_object(body)


def test_a_list_of_objects_names_the_item() -> None:
    with pytest.raises(Undecodable, match=r"Checks\[1\].Name must be a string"):
        Fields({"Checks": [{"Name": "a"}, {"Name": 1}]}).children("Checks", lambda check: check.text("Name"))


def test_read_whole_gives_the_value() -> None:
    assert read_whole({"A": "x"}, "", lambda fields: fields.text("a")) == "x"
