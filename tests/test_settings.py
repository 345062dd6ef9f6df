"""The table of settings: what is accepted, what is refused, and that every refusal names its setting."""

from __future__ import annotations

import dataclasses

import pytest

from server.access import client_networks, web_origins
from server.errors import SettingsError
from server.settings import Settings, from_mapping, rule_of
from server.web_pages import web_pages

FIELDS = dataclasses.fields(Settings)
NUMBERS = [field for field in FIELDS if type(field.default) in (int, float)]


def refusal(**values: object) -> str:
    with pytest.raises(SettingsError) as caught:
        Settings(**values)
    return str(caught.value)


def test_the_defaults_are_valid_and_listen_on_this_pc_only():
    assert Settings().host == "127.0.0.1"


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_every_setting_is_explained_in_one_sentence(field):
    explanation = rule_of(field).help
    assert explanation.endswith(".")
    assert "\n" not in explanation


@pytest.mark.parametrize("field", NUMBERS, ids=lambda field: field.name)
def test_every_number_has_bounds_that_are_kept(field):
    least, most = rule_of(field).minimum, rule_of(field).maximum
    kind = type(field.default)
    assert getattr(Settings(**{field.name: kind(least)}), field.name) == least
    assert getattr(Settings(**{field.name: kind(most)}), field.name) == most
    assert field.name in refusal(**{field.name: kind(least - 1)})
    assert field.name in refusal(**{field.name: kind(most + 1)})


def test_a_refusal_says_the_value_and_the_bound():
    assert refusal(port=70000) == "port: 70000 is too large; the most is 65535."
    assert refusal(contextsize=8) == "contextsize: 8 is too small; the least is 256."


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"port": "5001"}, "a whole number"),
        ({"port": True}, "a whole number"),
        ({"port": None}, "a whole number"),
        ({"port": 5001.5}, "a whole number"),
        ({"model": 5}, "text"),
        ({"quiet": 1}, "true or false"),
        ({"loramult": 1}, "a number"),
        ({"loramult": float("nan")}, "a number"),
        ({"tensor_split": [3.0, 1.0]}, "a list"),
        ({"tensor_split": (3,)}, "a number"),
        ({"lora": "a.gguf"}, "a list"),
        ({"lora": (5,)}, "text"),
    ],
)
def test_a_value_of_another_kind_is_refused(values, words):
    assert words in refusal(**values)


def test_a_choice_is_one_of_those_there_are():
    assert refusal(flashattention="maybe") == "flashattention: 'maybe' is none of auto, on, off."
    assert refusal(thinking="loud") == "thinking: 'loud' is none of show, hide, off."


@pytest.mark.parametrize("field", [field for field in FIELDS if rule_of(field).choices], ids=lambda field: field.name)
def test_every_choice_can_be_made(field):
    assert field.default in rule_of(field).choices
    assert all(getattr(Settings(**{field.name: choice}), field.name) == choice for choice in rule_of(field).choices)


def test_a_list_has_a_longest_length_and_bounds_for_each_entry():
    assert refusal(ropeconfig=(1.0, 2.0, 3.0)) == "ropeconfig: 3 values are too many; the most is 2."
    assert refusal(tensor_split=(3.0, -1.0)) == "tensor_split: -1.0 is too small; the least is 0."
    assert refusal(ropeconfig=(1.0, 1e10)) == "ropeconfig: 10000000000.0 is too large; the most is 1000000000."


def test_a_refused_password_is_not_shown():
    assert "4711" not in refusal(password=4711)


def test_settings_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().port = 1  # type: ignore[misc]


def test_a_changed_copy_is_checked_too():
    with pytest.raises(SettingsError):
        dataclasses.replace(Settings(), port=-1)


# --- opening the server to a network ---


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "gaming-pc"])
def test_a_network_address_without_key_or_clients_is_refused(host):
    sentence = refusal(host=host)
    assert f"--host {host}" in sentence
    assert "--password" in sentence
    assert "--allowclients" in sentence


@pytest.mark.parametrize("protection", [{"password": "secret"}, {"allowclients": "192.168.1.0/24"}])
def test_a_network_address_is_fine_with_a_key_or_a_list_of_clients(protection):
    assert Settings(host="0.0.0.0", **protection).host == "0.0.0.0"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_this_pc_needs_no_protection(host):
    assert Settings(host=host).host == host


def test_a_list_of_clients_without_any_entry_protects_nothing():
    assert "--allowclients" in refusal(host="0.0.0.0", allowclients=" , ")


# --- the list of clients ---


def test_clients_are_addresses_and_subnets_with_commas_between():
    networks = client_networks("192.168.1.20, 172.16.0.0/12,fe80::/10,")
    assert [str(network) for network in networks] == ["192.168.1.20/32", "172.16.0.0/12", "fe80::/10"]


@pytest.mark.parametrize("subnet", ["0.0.0.0/0", "::/0", "128.0.0.0/1", "2000::/3", "::ffff:0:0/96"])
def test_a_subnet_of_nearly_everybody_is_no_list_of_clients(subnet):
    assert "nearly everybody" in refusal(allowclients=subnet)


@pytest.mark.parametrize("name", ["*", "*.example.com", "http://pc", "pc:5001", "a b", "-pc", "pc."])
def test_an_odd_host_name_is_named(name):
    assert repr(name) in refusal(allowhosts=f"tavern.home,{name}")


@pytest.mark.parametrize("origin", ["*", "null", "lite.koboldai.net", "https://*", "https://a.example/page", "file://"])
def test_what_is_no_origin_is_named(origin):
    assert repr(origin.rstrip("/")) in refusal(alloworigins=f"https://agnai.chat, {origin}")


def test_an_origin_may_end_with_a_slash_and_have_a_port():
    Settings(alloworigins="https://agnai.chat/, http://192.168.1.7:8000,http://[fd00::1]:80")


def test_an_origin_is_meant_as_browsers_write_it():
    typed = "https://Agnai.chat:443/, http://a.example:80,https://a.example:80,http://[fd00::1]:80"
    assert web_origins(typed) == {"https://agnai.chat", "http://a.example", "https://a.example:80", "http://[fd00::1]"}


def test_every_page_that_can_be_allowed_is_an_origin_of_the_web():
    for page in web_pages():
        assert web_origins(",".join(page.origins)) == set(page.origins)
        assert all(origin.startswith("https://") for origin in page.origins)
        assert page.about.endswith(".")


def test_an_ipv4_subnet_means_the_same_in_either_spelling():
    assert client_networks("::ffff:192.168.1.0/120") == client_networks("192.168.1.0/24")


def test_a_subnet_may_be_named_by_an_address_in_it():
    assert str(client_networks("172.20.48.1/20")[0]) == "172.20.48.0/20"


@pytest.mark.parametrize("entry", ["gaming-pc", "192.168.1.*", "1.2.3.4/40", "300.1.1.1"])
def test_an_entry_that_is_no_address_is_named(entry):
    assert repr(entry) in refusal(allowclients=f"10.0.0.1,{entry}")


# --- from flags and files ---


def test_text_becomes_a_number_where_the_setting_is_one():
    assert from_mapping({"port": "6000", "gpulayers": " -1 "}) == Settings(port=6000, gpulayers=-1)


def test_text_that_is_no_number_is_refused_by_name():
    with pytest.raises(SettingsError, match=r"^threads: 'many' is not a whole number\.$"):
        from_mapping({"threads": "many"})


@pytest.mark.parametrize(
    ("value", "numbers"),
    [
        ("3,1", (3.0, 1.0)),
        (["3", "1"], (3.0, 1.0)),
        (["3,1", "2"], (3.0, 1.0, 2.0)),
        ([3, 1], (3.0, 1.0)),
        (3, (3.0,)),
        ("3,", (3.0,)),
        ("", ()),
        ([], ()),
    ],
)
def test_numbers_become_a_list_however_they_are_written(value, numbers):
    assert from_mapping({"tensor_split": value}).tensor_split == numbers


def test_a_path_becomes_a_list_whole():
    assert from_mapping({"lora": "a,b.gguf"}).lora == ("a,b.gguf",)


def test_a_whole_number_becomes_a_number():
    assert from_mapping({"loramult": 2, "tensor_split": ()}) == Settings(loramult=2.0)


def test_a_number_as_password_stays_text():
    assert from_mapping({"password": "1234"}).password == "1234"


def test_values_are_laid_over_the_base():
    base = Settings(port=6000, threads=3)
    assert from_mapping({"threads": 0}, base) == Settings(port=6000, threads=0)


def test_an_unknown_name_is_the_callers_mistake():
    with pytest.raises(KeyError):
        from_mapping({"colour": "red"})
