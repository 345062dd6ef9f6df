"""Reading a request body: null is absent, odd values are forgiven or refused by name, never a crash."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.errors import BadRequest
from server.request.fields import Fields, parse_body

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


def strict(**body: object) -> Fields:
    return Fields(body, strict=True)


def tolerant(**body: object) -> Fields:
    return Fields(body, strict=False)


# --- the body ---


@pytest.mark.parametrize("body", [b"", b" ", b"\r\n"])
def test_an_empty_body_is_an_empty_object(body):
    assert parse_body(body) == {}


def test_a_body_is_json_whatever_its_encoding():
    assert parse_body(b'\xef\xbb\xbf{"prompt": "\xc3\xa9"}') == {"prompt": "é"}
    assert parse_body('{"prompt": "é"}'.encode("utf-16")) == {"prompt": "é"}


@pytest.mark.parametrize(
    "body",
    [b"{", b"prompt=hi", b'{"a": 1} x', b"\xff\xfe\xfd", b'{"prompt": "\xe9"}', b"[" * 100_000, b"9" * 5000],
    ids=["cut off", "form", "trailing", "binary", "latin-1", "nested", "long number"],
)
def test_what_is_not_json_is_a_bad_request(body):
    with pytest.raises(BadRequest) as caught:
        parse_body(body)
    assert "\n" not in str(caught.value)


def test_deep_nesting_inside_an_object_is_a_bad_request():
    with pytest.raises(BadRequest, match="nested"):
        parse_body(b'{"a":' * 100_000 + b"1" + b"}" * 100_000)


@pytest.mark.parametrize("body", [b"[]", b"5", b'"text"', b"null", b"true"])
def test_json_that_is_no_object_is_a_bad_request(body):
    with pytest.raises(BadRequest, match="JSON object"):
        parse_body(body)


# --- names ---


def test_the_first_name_that_is_present_counts():
    assert strict(b=2, a=1).number("a", "b", default=0) == 1


def test_null_is_absent_so_that_the_next_name_counts():
    assert strict(a=None, b=2).number("a", "b", default=0) == 2


@pytest.mark.parametrize("fields", [strict(), strict(a=None), tolerant(a=None)])
def test_what_is_absent_is_the_default(fields):
    assert fields.number("a", default=1.5) == 1.5
    assert fields.whole("a", default=3) == 3
    assert fields.optional_whole("a") is None
    assert fields.flag("a", default=True) is True
    assert fields.optional_flag("a") is None
    assert fields.text("a", default="x") == "x"
    assert fields.texts("a") == ()
    assert fields.mapping("a") == {}


# --- numbers ---


@pytest.mark.parametrize(
    ("value", "number"), [(5, 5), (0.5, 0.5), ("0.5", 0.5), (" 7 ", 7), (-1, -1), (True, 1), ("1e3", 1000)]
)
def test_a_number_may_come_as_text(value, number):
    assert strict(a=value).number("a", default=9) == number


@pytest.mark.parametrize(("value", "whole"), [(5.0, 5), (5.9, 5), ("5.0", 5), (-1.0, -1), (2**40, 2**40), (0, 0)])
def test_a_float_may_stand_for_a_whole_number(value, whole):
    assert strict(a=value).whole("a", default=9) == whole


@pytest.mark.parametrize("value", ["", None])
def test_an_empty_number_is_absent(value):
    assert strict(a=value).number("a", default=9) == 9


ODD_NUMBERS = ["many", [], {}, [5], float("nan"), float("inf"), -float("inf"), "nan", "inf", 10**400]


@pytest.mark.parametrize("value", ODD_NUMBERS, ids=repr)
def test_an_odd_number_is_refused_by_name_or_forgiven(value):
    with pytest.raises(BadRequest, match=r"^temperature must be a number") as caught:
        strict(temperature=value).number("temperature", default=9)
    assert caught.value.param == "temperature"
    assert tolerant(temperature=value).number("temperature", default=9) == 9


def test_a_refusal_names_the_name_that_the_client_used():
    with pytest.raises(BadRequest) as caught:
        strict(max_tokens="lots").optional_whole("max_completion_tokens", "max_tokens")
    assert caught.value.param == "max_tokens"


def test_a_refusal_stays_short():
    with pytest.raises(BadRequest) as caught:
        strict(a=["x" * 1000]).number("a", default=0)
    assert len(str(caught.value)) < 100


# --- flags ---


@pytest.mark.parametrize("value", [True, 1, "true", "True", "1", 2.5])
def test_what_means_yes(value):
    assert strict(a=value).flag("a", default=False) is True
    assert strict(a=value).optional_flag("a") is True


@pytest.mark.parametrize("value", [False, 0, "false", "0", "no", []])
def test_what_means_no(value):
    assert strict(a=value).flag("a", default=True) is False
    assert strict(a=value).optional_flag("a") is False


@pytest.mark.parametrize("default", [True, False])
def test_an_empty_flag_is_absent(default):
    assert strict(a="").flag("a", default=default) is default
    assert strict(a="").optional_flag("a") is None


# --- texts ---


@pytest.mark.parametrize("value", [5, [], {"a": 1}, True])
def test_text_of_another_kind_is_refused_or_forgiven(value):
    with pytest.raises(BadRequest, match=r"^genkey must be text"):
        strict(genkey=value).text("genkey")
    assert tolerant(genkey=value).text("genkey", default="x") == "x"


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        ("#", ("#",)),
        (["#", "##"], ("#", "##")),
        ("", ()),
        ([], ()),
        ([""], ()),
        (["", None, "#", 5, ["x"]], ("#",)),
        (None, ()),
    ],
)
def test_texts_are_one_text_or_a_list_without_the_empty_ones(value, texts):
    assert strict(stop=value).texts("stop") == texts


def test_texts_of_another_kind_are_refused_or_forgiven():
    with pytest.raises(BadRequest, match=r"^stop must be text or a list of texts"):
        strict(stop=5).texts("stop")
    assert tolerant(stop=5).texts("stop") == ()


# --- objects ---


def test_an_object_is_handed_over():
    assert strict(a={"5": 1}).mapping("a") == {"5": 1}


@pytest.mark.parametrize("value", ["x", [1], 5])
def test_an_object_of_another_kind_is_refused_or_forgiven(value):
    with pytest.raises(BadRequest, match=r"^logit_bias must be an object"):
        strict(logit_bias=value).mapping("logit_bias")
    assert tolerant(logit_bias=value).mapping("logit_bias") == {}


@settings(max_examples=150, deadline=None)
@given(value=JSON)
def test_no_value_at_all_upsets_a_tolerant_reader(value):
    fields = tolerant(a=value)
    assert isinstance(fields.number("a", default=0), (int, float))
    assert isinstance(fields.whole("a", default=0), int)
    assert isinstance(fields.flag("a", default=False), bool)
    assert fields.optional_flag("a") in (True, False, None)
    assert isinstance(fields.text("a"), str)
    assert all(isinstance(text, str) and text for text in fields.texts("a"))
    assert isinstance(fields.mapping("a"), dict)


@settings(max_examples=150, deadline=None)
@given(body=st.binary(max_size=30) | JSON.map(lambda value: json.dumps(value).encode()))
def test_a_body_is_an_object_or_a_bad_request(body):
    with contextlib.suppress(BadRequest):
        assert isinstance(parse_body(body), dict)
