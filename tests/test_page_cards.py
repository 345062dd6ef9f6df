"""Character cards on the chat page: PNG and JSON files, as sites hand them out."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image, PngImagePlugin
from playwright.sync_api import expect

from tests.browser import Tab, browser, context, tab, upload
from tests.conftest import Server

TEXTS = {
    "name": "Lydia",
    "description": "{{char}} is a housecarl in Whiterun.",
    "personality": "loyal and dry",
    "scenario": "<USER> has come home late.",
    "first_mes": "*She looks up.* {{user}}! You are late.",
    "mes_example": "<START>\n{{user}}: Carry this.\n{{char}}: I am sworn to carry your burdens.",
}
DATA = {
    **TEXTS,
    "creator_notes": "Best with few words." + "\n\nAnd patience." * 20,
    "system_prompt": "",
    "post_history_instructions": "Answer in one sentence. {{original}}",
    "alternate_greetings": ["My thane.", "Trouble?"],
    "tags": ["Skyrim"],
    "extensions": {"anything": 1},
    "character_book": {
        "entries": [
            {
                "keys": ["Jarl"],
                "content": "@@depth 2\nThe Jarl is Balgruuf.",
                "enabled": True,
                "insertion_order": 1,
                "extensions": {},
            },
            {"keys": [], "content": "It is winter.", "constant": True, "enabled": True, "insertion_order": 0},
            {"keys": ["dragon"], "content": "Dragons are back.", "enabled": False, "insertion_order": 0},
            {
                "keys": ["sword"],
                "selective": True,
                "secondary_keys": ["steel"],
                "content": "Her sword is of steel.",
                "enabled": True,
                "insertion_order": 2,
            },
            {"keys": ["/ja?rl/"], "use_regex": True, "content": "Never.", "enabled": True, "insertion_order": 3},
        ]
    },
}
V1 = TEXTS
V2 = {"spec": "chara_card_v2", "spec_version": "2.0", "data": DATA}
V3 = {"spec": "chara_card_v3", "spec_version": "3.0", "data": {**DATA, "nickname": "Lyd", "group_only_greetings": []}}


def picture(how: str = "tEXt", **chunks: Any) -> bytes:
    """A PNG that carries these texts, as base64 of their JSON."""
    told = PngImagePlugin.PngInfo()
    for keyword, value in chunks.items():
        data = value if isinstance(value, bytes) else json.dumps(value, ensure_ascii=False).encode()
        text = base64.b64encode(data).decode()
        if how.startswith("iTXt"):
            told.add_itxt(keyword, text, lang="en", tkey="card", zip=how.endswith("packed"))
        else:
            told.add_text(keyword, text, zip=how == "zTXt")
    file = io.BytesIO()
    Image.new("RGB", (400, 600), "#a33").save(file, "PNG", pnginfo=told)
    return file.getvalue()


def prompt_of(tab: Tab) -> str:
    """The messages of the next request, as the server renders them."""
    tab.button("Prompt").click()
    expect(tab.page.locator("#prompt .summary")).to_contain_text("tokens")
    text = tab.page.locator("#prompt pre").text_content() or ""
    tab.button("Done").click()
    return text


@pytest.mark.parametrize(
    ("file", "name"),
    [
        (upload("v1.json", V1), "Lydia"),
        (upload("v2.json", V2), "Lydia"),
        (upload("v3.json", V3), "Lyd"),
        (upload("v2.png", picture(chara=V2)), "Lydia"),
        (upload("v3.png", picture(ccv3=V3)), "Lyd"),
        (upload("both.png", picture(chara=V2, ccv3=V3)), "Lyd"),
        (upload("no-ending", picture(chara=V2)), "Lydia"),
        (upload("zTXt.png", picture("zTXt", chara=V2)), "Lydia"),
        (upload("iTXt.png", picture("iTXt", chara=V2)), "Lydia"),
        (upload("iTXt-packed.png", picture("iTXt packed", chara=V2)), "Lydia"),
        (upload("a-broken-one-beside-it.png", picture(ccv3=b"{oops", chara=V2)), "Lydia"),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else value,
)
def test_a_card_begins_a_chat_with_its_character(server: Server, tab: Tab, file: dict[str, Any], name: str):
    tab.open(server.base)
    tab.wait_until_ready()
    tab.import_file(file)
    expect(tab.messages(name).locator(".text")).to_have_text("She looks up. User! You are late.")
    expect(tab.page.locator("h1")).to_have_text(name)
    prompt = prompt_of(tab)
    for part in (
        f"Write {name}'s next reply in a conversation with User.",
        f"{name} is a housecarl in Whiterun.",
        f"{name}'s personality: loyal and dry",
        "Scenario: User has come home late.",
        f"{name}: I am sworn to carry your burdens.",
    ):
        assert part in prompt
    assert "{{" not in prompt
    assert "<START>" not in prompt


def test_its_picture_is_shown_and_kept(server: Server, tab: Tab):
    tab.open(server.base)
    tab.import_file(upload("lydia.png", picture(chara=V2)))
    for _ in range(2):
        avatar = tab.messages("Lydia").locator("img")
        expect(avatar).to_be_visible()
        assert avatar.evaluate("picture => picture.decode().then(() => picture.naturalWidth)") == 160
        tab.page.reload()


def test_its_other_greetings_can_be_chosen(server: Server, tab: Tab):
    tab.open(server.base)
    tab.import_file(upload("lydia.json", V2))
    expect(tab.messages("Lydia")).to_contain_text("1 of 3")
    tab.button("The reply before").click()
    expect(tab.messages("Lydia").locator(".text")).to_have_text("Trouble?")
    tab.talkative(8)
    tab.say("None.")
    assert tab.asked[-1]["messages"][1] == {"role": "assistant", "content": "Trouble?"}


def test_its_lorebook_speaks_up_when_it_is_asked_for_and_closing_words_come_last(server: Server, tab: Tab):
    tab.open(server.base)
    tab.talkative(8)
    tab.import_file(upload("lydia.json", V2))
    expect(tab.toasts()).to_contain_text("Entries of its lorebook that look for patterns are left out: 1.")
    tab.say("Who rules here?")
    assert "Balgruuf" not in json.dumps(tab.asked[-1])
    assert "It is winter." in tab.asked[-1]["messages"][0]["content"]
    tab.say("Take me to the jarl. My sword is sharp, and a dragon comes.")
    contents = [message["content"] for message in tab.asked[-1]["messages"]]
    assert contents[-3:] == [
        "The Jarl is Balgruuf.",
        "Take me to the jarl. My sword is sharp, and a dragon comes.",
        "Answer in one sentence. Write Lydia's next reply in a conversation with User.",
    ]
    assert tab.asked[-1]["stop"] == ["\nUser:"]


def test_a_lorebook_in_sillytaverns_own_form_is_read_and_a_long_entry_does_not_keep_out_others(
    server: Server, tab: Tab
):
    entries = {
        "0": {"key": ["jarl"], "content": "The Jarl is Balgruuf.", "insertion_order": 2},
        "1": {"keys": "dragon, wyrm", "content": "x" * 20_000, "insertion_order": 1},
    }
    tab.open(server.base)
    tab.talkative(8)
    tab.import_file(upload("lydia.json", {**V2, "data": {**DATA, "character_book": {"entries": entries}}}))
    tab.say("Does the Jarl know of the wyrm?")
    assert "Balgruuf" in json.dumps(tab.asked[-1])
    assert "xxx" not in json.dumps(tab.asked[-1])


def test_what_the_user_says_is_sent_as_it_was_said(server: Server, tab: Tab):
    tab.open(server.base)
    tab.talkative(8)
    tab.import_file(upload("lydia.json", V2))
    tab.say("What are {{user}} and <USER>?")
    assert {"role": "user", "content": "What are {{user}} and <USER>?"} in tab.asked[-1]["messages"]


def test_what_an_exported_chat_may_not_say_is_left_out(server: Server, tab: Tab):
    message = {"role": "user", "variants": [{"text": "Shown."}], "chosen": "length"}
    samplers = {"messages": [{"role": "user", "content": "Hidden."}], "temperature": 0.5, "n": 3}
    chats = [{"messages": [message], "samplers": samplers, "tools": "x"}, {"messages": [], "samplers": None}]
    tab.open(server.base)
    tab.import_file(upload("chats.json", {"format": "tavernkeep-chats", "chats": chats}))
    expect(tab.messages().locator(".text")).to_have_text("Shown.")
    tab.page.reload()
    tab.talkative(8)
    tab.button("Retry").click()
    tab.wait_until_written()
    asked = tab.asked[-1]
    assert asked["messages"] == [{"role": "user", "content": "Shown."}]
    assert (asked["temperature"], "n" in asked, "tools" in asked) == (0.5, False, False)


def test_the_characters_notes_stand_in_the_settings_and_it_can_leave(server: Server, tab: Tab):
    tab.open(server.base)
    tab.import_file(upload("lydia.png", picture(chara=V2)))
    expect(tab.messages("Lydia")).to_be_visible()
    tab.button("Settings").click()
    expect(tab.page.locator("#character")).to_contain_text("Best with few words.")
    assert [each["id"] for each in Axe().run(tab.page).response["violations"]] == []
    tab.button("Remove").click()
    tab.button("Done").click()
    expect(tab.messages("Assistant")).to_be_visible()
    tab.button("Undo").click()
    expect(tab.messages("Lydia")).to_be_visible()


def test_a_character_survives_export_and_import(server: Server, tab: Tab):
    tab.open(server.base)
    tab.import_file(upload("lydia.png", picture(chara=V2)))
    expect(tab.messages("Lydia")).to_be_visible()
    with tab.page.expect_download() as download:
        tab.button("Export Lydia").click()
    kept = json.loads(download.value.path().read_text("utf-8"))
    assert download.value.suggested_filename == "Lydia.json"
    tab.import_file(upload("Lydia.json", kept))
    expect(tab.page.locator("#chat-list li")).to_have_count(2)
    with tab.page.expect_download() as download:
        tab.button("Export Lydia").first.click()
    again = json.loads(download.value.path().read_text("utf-8"))
    own = {"id", "created", "changed"}
    assert [{**chat, **dict.fromkeys(own)} for chat in again["chats"]] == [
        {**chat, **dict.fromkeys(own)} for chat in kept["chats"]
    ]


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        (upload("plain.png", picture()), "There is no character in this picture."),
        (upload("broken.png", picture(chara=b"{oops")), "The character in this picture is damaged."),
        (upload("cut.png", picture(chara=V2)[:60]), "The character in this picture is damaged."),
        (upload("nameless.json", {**V2, "data": {"first_mes": "Hi"}}), "has no name"),
        (upload("list.json", []), "neither a character card"),
        (upload("notes.txt", b"Dear diary"), "neither a character card"),
        (upload("photo.jpg", b"\xff\xd8\xff\xe0"), "neither a character card"),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else "",
)
def test_a_file_without_a_character_is_told(server: Server, tab: Tab, file: dict[str, Any], sentence: str):
    tab.open(server.base)
    tab.import_file(file)
    expect(tab.toasts()).to_contain_text(sentence)
    expect(tab.toasts()).to_contain_text(file["name"])
    expect(tab.messages()).to_have_count(0)


@pytest.mark.parametrize(
    "odd",
    [
        {"spec": "chara_card_v2", "data": {"name": 7, "first_mes": []}},
        {"spec": "chara_card_v2", "data": {**DATA, "character_book": {"entries": [None, 3, {"keys": "x"}]}}},
        {"spec": "chara_card_v2", "data": {**DATA, "alternate_greetings": "x", "character_book": []}},
        {"format": "tavernkeep-chats", "chats": [None, {"messages": [None, {"role": "x"}, {"role": "user"}]}]},
        {"format": "tavernkeep-chats", "chats": "x"},
        {
            "format": "tavernkeep-chats",
            "chats": [
                {
                    "title": 3,
                    "character": {"name": "L", "avatar": "https://elsewhere.example/x.png", "book": [7]},
                    "messages": [{"role": "user", "variants": [7], "chosen": 9}],
                }
            ],
        },
    ],
)
def test_odd_files_do_no_harm(server: Server, tab: Tab, odd: Any):
    tab.open(server.base)
    tab.import_file(upload("odd.json", odd))
    expect(tab.toasts()).to_be_visible()
    tab.button("New chat").click()
    tab.talkative(4)
    tab.say("Still well?")
