"""The chat page in a real browser, with the real server and the starter model."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from server.access import is_loopback
from server.api import page as page_route
from server.events import EngineState
from server.sampler_presets import sampler_presets
from tests.browser import LONG, Tab, browser, context, other, tab
from tests.conftest import Server, settings_for_tests, wait_until

MARKS = {
    "* **Iron:** 5 gold": "<p>* <strong>Iron:</strong> 5 gold</p>",
    "2 * 3 * 4": "<p>2 * 3 * 4</p>",
    "***both***": "<p><strong>both</strong></p>",
    '*He said "no" twice.*': '<p><em>He said <span class="speech">"no"</span> twice.</em></p>',
    "„Hallo“, und „Gut“": '<p><span class="speech">„Hallo“</span>, und <span class="speech">„Gut“</span></p>',
    "- a\n  ```py\n  x = 1\n  ```\nb": '<p>- a</p><pre tabindex="0"><code>  x = 1</code></pre><p>b</p>',
    "```\n```\nafter": '<pre tabindex="0"><code></code></pre><p>after</p>',
    "```\nnot ended": '<pre tabindex="0"><code>not ended</code></pre>',
    "~~~~\n```\n~~~~": '<pre tabindex="0"><code>```</code></pre>',
    "a < b & c": "<p>a &lt; b &amp; c</p>",
}


@pytest.fixture(scope="module")
def lan_address() -> str:
    """This PC's address in a network, where browsers offer a page less than on localhost."""
    found = (each.address for name in psutil.net_if_addrs().values() for each in name if each.family == socket.AF_INET)
    return next((address for address in found if not is_loopback(address)), "") or pytest.skip("no network here")


def test_a_message_is_answered_and_the_reply_is_seen_while_it_grows(server: Server, tab: Tab):
    tab.open(server.base)
    tab.wait_until_ready()
    tab.talkative(LONG)
    tab.write("Tell me of a dragon.")
    tab.wait_for_words()
    early = tab.last_text()
    expect(tab.button("Stop")).to_be_visible()
    expect(tab.messages().last.locator(".figures")).to_contain_text("≈")
    tab.wait_until_written()
    assert tab.last_text().startswith(early.rstrip())
    assert len(tab.last_text()) > len(early)
    expect(tab.messages().last.locator(".figures")).to_contain_text(re.compile(rf"^{LONG} tokens · [\d.]+ tokens/s"))
    expect(tab.messages()).to_have_count(2)
    expect(tab.messages("You").locator(".text")).to_have_text("Tell me of a dragon.")


def test_stop_ends_the_generation_and_keeps_what_was_said_and_continue_goes_on_from_there(server: Server, tab: Tab):
    tab.begin_long_reply(server.base)
    tab.button("Stop").click()
    tab.wait_until_written()
    server.wait_until_quiet()
    expect(tab.messages().last).to_contain_text("Stopped.")
    said = tab.last_text()
    assert said
    tab.talkative(20)
    tab.messages().last.get_by_role("button", name="Continue").click()
    tab.wait_until_written()
    assert tab.asked[-1]["messages"][-1]["role"] == "assistant"
    assert tab.last_text().startswith(said.rstrip())
    assert len(tab.last_text()) > len(said)
    expect(tab.messages()).to_have_count(2)


def test_escape_stops_as_well(server: Server, tab: Tab):
    tab.begin_long_reply(server.base)
    tab.page.keyboard.press("Escape")
    expect(tab.messages().last).to_contain_text("Stopped.")
    server.wait_until_quiet()


def test_another_try_keeps_the_first_one(server: Server, tab: Tab):
    tab.open(server.base)
    tab.talkative(12)
    tab.say("Who are you?")
    first = tab.last_text()
    tab.button("Retry").click()
    tab.wait_until_written()
    expect(tab.messages().last).to_contain_text("2 of 2")
    assert tab.last_text() != first
    tab.button("The reply before").click()
    expect(tab.messages().last).to_contain_text("1 of 2")
    assert tab.last_text() == first


def test_what_was_said_can_be_edited_and_answered_anew(server: Server, tab: Tab):
    tab.begin_chat(server.base)
    tab.say("And who am I?")
    tab.messages().first.get_by_role("button", name="Edit").click()
    tab.page.get_by_label("The message").fill("What are you?")
    tab.button("Save and answer").click()
    tab.wait_until_written()
    expect(tab.messages()).to_have_count(2)
    assert tab.asked[-1]["messages"] == [{"role": "user", "content": "What are you?"}]
    tab.button("Keep it as a branch").click()
    expect(tab.messages()).to_have_count(4)
    expect(tab.messages().first.locator(".text")).to_have_text("Who are you?")
    expect(tab.page.locator("#chat-list li")).to_have_count(2)


def test_a_reply_is_edited_in_its_place_and_cancel_leaves_it(server: Server, tab: Tab):
    tab.begin_chat(server.base)
    for button, text in (("Save", "I am the keeper."), ("Cancel", "I am the keeper.")):
        tab.messages().last.get_by_role("button", name="Edit").click()
        tab.page.get_by_label("The message").fill("I am the keeper." if button == "Save" else "Nobody.")
        tab.button(button).click()
        expect(tab.messages().last.locator(".text")).to_have_text(text)


def test_an_edit_that_is_not_saved_outlives_a_reply(server: Server, tab: Tab):
    tab.begin_chat(server.base)
    tab.messages().first.get_by_role("button", name="Edit").click()
    tab.page.get_by_label("The message").fill("half a thou")
    tab.say("Go on.")
    expect(tab.page.get_by_label("The message")).to_have_value("half a thou")


def test_a_reload_keeps_the_chat_also_in_the_middle_of_a_reply(server: Server, tab: Tab):
    tab.begin_chat(server.base)
    first = tab.last_text()
    tab.talkative(LONG)
    tab.write("Tell me of a dragon.")
    expect(tab.messages().nth(3).locator(".text")).to_have_text(re.compile(r".{100}", re.DOTALL))
    tab.page.reload()
    expect(tab.messages()).to_have_count(4)
    expect(tab.messages().nth(1).locator(".text")).to_have_text(first)
    expect(tab.messages().nth(3).locator(".text")).not_to_be_empty()
    server.wait_until_quiet()


def test_chats_are_listed_named_exported_imported_deleted_and_brought_back(server: Server, tab: Tab, tmp_path: Path):
    tab.begin_chat(server.base)
    tab.button("New chat").click()
    tab.say("Where am I?")
    entries = tab.page.locator("#chat-list li")
    expect(entries).to_have_count(2)
    with tab.page.expect_download() as download:
        tab.button("Export all").click()
    file = tmp_path / "chats.json"
    download.value.save_as(file)
    titles = {chat["messages"][0]["variants"][0]["text"] for chat in json.loads(file.read_text("utf-8"))["chats"]}
    assert titles == {"Who are you?", "Where am I?"}

    tab.button("Delete Where am I?").click()
    expect(entries).to_have_count(1)
    tab.button("Undo").click()
    expect(entries).to_have_count(2)
    tab.import_file(file)
    expect(entries).to_have_count(4)
    tab.page.reload()
    expect(entries).to_have_count(4)


def test_a_branch_is_a_chat_of_its_own(server: Server, tab: Tab):
    tab.begin_chat(server.base)
    tab.messages().first.get_by_role("button", name="Branch").click()
    expect(tab.messages()).to_have_count(1)
    expect(tab.page.locator("h1")).to_have_text("Who are you? (branch)")
    tab.button("Who are you?").click()
    expect(tab.messages()).to_have_count(2)


def test_what_one_tab_writes_the_other_shows(server: Server, tab: Tab, other: Tab):
    tab.begin_chat(server.base)
    other.join_chat(server.base)
    other.talkative(8)
    other.say("Said in the other tab.")
    expect(tab.messages()).to_have_count(4)
    tab.say("Said in this tab.")
    expect(other.messages()).to_have_count(6)
    expect(tab.page.locator("#chat-list li")).to_have_count(1)


def test_two_tabs_that_write_at_once_do_not_lose_each_others_words(server: Server, tab: Tab, other: Tab):
    tab.begin_chat(server.base)
    other.join_chat(server.base)
    tab.talkative(LONG)
    other.talkative(LONG)
    other.write("Said in the other tab.")
    expect(tab.messages()).to_have_count(4)
    tab.write("Said in this tab.")
    tab.wait_until_written()
    other.wait_until_written()
    whole = other.last_text()
    tab.page.reload()
    expect(tab.page.locator("#chat-list li")).to_have_count(2)
    tab.button("Who are you?").click()
    expect(tab.messages().nth(4).locator(".text")).to_have_text("Said in this tab.")
    tab.button("Who are you? (from another tab)").click()
    expect(tab.messages()).to_have_count(4)
    assert tab.last_text() == whole


def test_the_settings_of_a_chat_are_sent_with_it(server: Server, tab: Tab):
    tab.open(server.base)
    tab.wait_until_ready()
    tab.talkative(8)
    tab.button("Settings").click()
    tab.page.get_by_label("System prompt").fill("You are {{char}}, who serves {{user}}.")
    tab.page.get_by_label("Your name").fill("Ysolda")
    tab.page.get_by_label("Preset").select_option("Min-p")
    tab.page.get_by_label("Temperature").fill("0.4")
    tab.page.get_by_label("Length of a reply").fill("30")
    tab.page.get_by_label("The model may think").uncheck()
    tab.button("Done").click()
    tab.say("Hello!")
    asked = tab.asked[-1]
    preset = next(dict(preset.settings) for preset in sampler_presets() if preset.name == "Min-p")
    assert {**preset, "temperature": 0.4}.items() <= asked.items()
    assert asked["max_tokens"] == 30
    assert asked["thinking"] == "off"
    assert asked["messages"][0] == {"role": "system", "content": "You are Assistant, who serves Ysolda."}
    expect(tab.messages("Ysolda")).to_have_count(1)
    tab.page.reload()
    tab.button("Settings").click()
    expect(tab.page.get_by_label("Preset")).to_have_value("Min-p")
    expect(tab.page.get_by_label("Temperature")).to_have_value("0.4")


def test_fields_of_samplers_show_what_counts_without_them(server: Server, tab: Tab):
    tab.open(server.base)
    tab.wait_until_ready()
    tab.button("Settings").click()
    expect(tab.page.get_by_label("Top-k")).to_have_attribute("placeholder", "100")
    tab.page.get_by_label("Preset").select_option("Neutral")
    expect(tab.page.get_by_label("Top-k")).to_have_attribute("placeholder", "0")


def test_the_next_prompt_is_shown_with_its_tokens(server: Server, tab: Tab):
    tab.open(server.base)
    tab.wait_until_ready()
    tab.page.get_by_label("Your message").fill("What is on the menu?")
    tab.button("Prompt").click()
    prompt = tab.page.locator("#prompt pre")
    expect(prompt).to_contain_text("<|im_start|>user\nWhat is on the menu?<|im_end|>\n<|im_start|>assistant\n")
    counted = server.post("/api/extra/tokencount", {"prompt": prompt.text_content(), "special": False}).json["value"]
    expect(tab.page.locator("#prompt .summary")).to_contain_text(f"{counted} tokens of 2048")


def test_a_chat_that_is_too_long_says_what_was_left_out(own_server: Server, tab: Tab):
    own_server.controller.start(settings_for_tests(contextsize=512))
    own_server.wait_for(EngineState.READY)
    tab.open(own_server.base)
    tab.talkative(8)
    tab.say("First. " + "The tavern is full of guests. " * 40)
    tab.say("Second. " + "The tavern is full of guests. " * 40)
    expect(tab.messages().last.locator(".figures")).to_contain_text("of the oldest messages did not fit")


def serve_thinker(server: Server, folder: Path, budget: int) -> None:
    """A model that thinks before it speaks, as long as it may."""
    thinker = folder / "thinker.jinja"
    thinker.write_text("{% for m in messages %}{{ m.content }}\n{% endfor %}<think>\n", "utf-8")
    server.controller.start(settings_for_tests(chatcompletionsadapter=str(thinker), thinkingbudget=budget))
    server.wait_for(EngineState.READY)


def test_thoughts_are_folded_and_unfold(own_server: Server, tab: Tab, tmp_path: Path):
    serve_thinker(own_server, tmp_path, budget=8)
    tab.open(own_server.base)
    tab.talkative(40)
    tab.say("What is two and two?")
    thought = tab.messages().last.locator(".thought-text")
    expect(thought).to_be_hidden()
    tab.messages().last.get_by_text("Thought", exact=True).click()
    expect(thought).to_be_visible()
    expect(thought).not_to_be_empty()
    assert "think>" not in tab.last_text()


def test_the_demo_of_tools_calls_one_and_hears_its_result(server: Server, tab: Tab):
    tab.open(server.base)
    tab.button("Try tools").click()
    tab.button("Settings").click()
    tab.page.get_by_label("Length of a reply").fill("60")
    tab.button("Done").click()
    tab.button("Send").click()
    tab.wait_until_written()
    expect(tab.messages().nth(1).locator(".calls")).to_contain_text(re.compile(r"Calls (roll_dice|current_time)\("))
    expect(tab.messages("Tool")).to_have_count(1)
    expect(tab.messages()).to_have_count(4)
    expect(tab.messages().last.locator(".text")).not_to_be_empty()
    last = tab.asked[-1]["messages"]
    assert last[-1]["role"] == "tool"
    assert last[-1]["tool_call_id"] == last[-2]["tool_calls"][0]["id"]


def test_the_demo_of_json_keeps_to_its_schema(server: Server, tab: Tab):
    tab.open(server.base)
    tab.button("Try JSON").click()
    tab.page.keyboard.press("Enter")
    tab.wait_until_written()
    guest = json.loads(tab.last_text())
    assert sorted(guest) == ["age", "name", "race", "secret"]


def test_a_schema_that_is_not_json_is_told_where_it_is_written_and_when_it_is_sent(server: Server, tab: Tab):
    tab.open(server.base)
    tab.button("Settings").click()
    tab.page.get_by_label("JSON schema").fill("{oops")
    expect(tab.page.get_by_role("alert").filter(has_text="schema in this chat's settings is not JSON")).to_be_visible()
    tab.button("Done").click()
    tab.write("Hello!")
    expect(tab.messages().last).to_contain_text("The JSON schema in this chat's settings is not JSON")


def test_another_pc_is_asked_for_the_key_and_a_wrong_one_is_told(own_server: Server, tab: Tab, lan_address: str):
    own_server.controller.start(settings_for_tests(host="0.0.0.0", password="right"))
    own_server.wait_for(EngineState.READY)
    tab.open(f"http://{lan_address}:{own_server.port}/")
    dialog = tab.page.get_by_role("dialog", name="The server's key")
    expect(dialog).to_be_visible()
    tab.page.get_by_label("Key", exact=True).fill("wrong")
    tab.button("Use it").click()
    expect(dialog).to_contain_text("The server does not take this key.")
    tab.page.get_by_label("Key", exact=True).fill("right")
    tab.button("Use it").click()
    tab.wait_until_ready()
    tab.talkative(8)
    tab.say("Who are you?")
    tab.page.reload()
    tab.wait_until_ready()
    tab.say("Still there?")
    expect(tab.messages()).to_have_count(4)


def test_a_key_that_is_taken_back_is_told_at_the_message(own_server: Server, tab: Tab):
    own_server.controller.start(settings_for_tests(password="first"))
    own_server.wait_for(EngineState.READY)
    tab.page.add_init_script("localStorage.setItem('tavernkeep', JSON.stringify({key: 'second'}))")
    tab.open(own_server.base)
    dialog = tab.page.get_by_role("dialog", name="The server's key")
    expect(dialog).to_be_visible()
    tab.page.keyboard.press("Escape")
    tab.write("Hello!")
    expect(tab.messages().last).to_contain_text("The key is missing or wrong.")
    expect(dialog).to_be_visible()


def test_a_server_that_goes_and_comes_back_loses_nothing(own_server: Server, tab: Tab):
    own_server.controller.start(settings_for_tests())
    own_server.wait_for(EngineState.READY)
    settings = settings_for_tests(port=own_server.port)
    tab.begin_long_reply(own_server.base)
    own_server.controller.stop()
    tab.wait_until_written()
    expect(tab.messages().last.locator(".text")).not_to_be_empty()
    expect(tab.messages().last).to_contain_text("The model was unloaded.")
    expect(tab.page.locator("#status")).to_have_text(re.compile("The server does not answer"))
    tab.write("Are you there?")
    expect(tab.messages().last).to_contain_text("The server does not answer. Is Tavernkeep running")
    own_server.controller.start(settings)
    tab.wait_until_ready()
    tab.talkative(8)
    tab.button("Retry").click()
    tab.wait_until_written()
    expect(tab.messages()).to_have_count(4)
    assert tab.last_text()
    assert tab.asked[-1]["messages"][-1] == {"role": "user", "content": "Are you there?"}


def test_a_reply_that_breaks_off_keeps_its_words(server: Server, tab: Tab):
    tab.open(server.base)
    tab.hears({"choices": [{"delta": {"content": "Once upon"}, "finish_reason": None}]}, whole=False)
    tab.write("Tell me a tale.")
    expect(tab.messages().last).to_contain_text("The reply broke off, because the server went away.")
    assert tab.last_text() == "Once upon"


def test_while_a_model_loads_the_page_says_so(own_server: Server, tab: Tab):
    own_server.controller.start(settings_for_tests())
    wait_until(lambda: own_server.base, "the address")
    tab.open(own_server.base)
    expect(tab.page.locator("#status")).not_to_be_empty()
    tab.wait_until_ready()
    expect(tab.page.locator("#status")).to_contain_text("SmolLM2-135M-Instruct")


def test_words_are_never_taken_for_html(server: Server, tab: Tab):
    tab.open(server.base)
    tab.talkative(4)
    tab.say('<img src=x onerror=alert(1)> *bold* `code` "speech" **strong** ```\n<b>\n```')
    expect(tab.messages().first.locator(".text img")).to_have_count(0)
    expect(tab.messages().first.locator(".text")).to_contain_text("<img src=x onerror=alert(1)>")
    for element in ("em", "strong", ".speech", "code"):
        expect(tab.messages().first.locator(f".text {element}").first).to_be_visible()


def test_nothing_is_asked_of_anybody_else(server: Server, tab: Tab):
    hosts = set()
    tab.page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    tab.open(server.base)
    tab.wait_until_ready()
    tab.talkative(4)
    tab.say("Hello!")
    assert hosts == {urlsplit(server.base).netloc}


def test_the_pages_files_come_with_a_strict_policy_and_nothing_else_of_the_disk(server: Server):
    for file in page_route.FOLDER.iterdir():
        reply = server.get(f"/page/{file.name}")
        assert reply.body == file.read_bytes()
        policy = reply.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
    for path in ("/page/..%2f..%2fREADME.md", "/page/nothing.js", "/page/%2e%2e/page.js"):
        assert b"Every route" not in server.get(path).body
        assert server.get(path).status in (400, 404), path


def test_axe_finds_nothing_to_object_to(server: Server, tab: Tab):
    tab.open(server.base)
    tab.wait_until_ready()
    tab.talkative(8)
    tab.say('Say "hello", *please*: `code`')
    states = {
        "a chat": lambda: None,
        "settings": lambda: tab.button("Settings").click(),
        "prompt": lambda: (tab.button("Done").click(), tab.button("Prompt").click()),
        "key": lambda: (tab.button("Done").click(), tab.button("Key…").click()),
        "an editor": lambda: (
            tab.button("Use it").click(),
            tab.messages().first.get_by_role("button", name="Edit").click(),
        ),
        "a new chat": lambda: tab.button("New chat").click(),
    }
    for state, reach in states.items():
        reach()
        for scheme in ("light", "dark"):
            tab.page.emulate_media(color_scheme=scheme)
            found = Axe().run(tab.page).response["violations"]
            assert [(each["id"], each["nodes"][0]["html"]) for each in found] == [], f"{state}, {scheme}"


def test_on_a_phone_everything_is_in_reach(server: Server, tab: Tab):
    tab.page.set_viewport_size({"width": 360, "height": 700})
    tab.open(server.base)
    tab.talkative(8)
    tab.say("A_very_long_word_" * 12)
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 360
    expect(tab.button("New chat")).to_be_hidden()
    tab.button("Chats").click()
    expect(tab.button("New chat")).to_be_visible()
    assert [each["id"] for each in Axe().run(tab.page).response["violations"]] == []
    tab.button("New chat").click()
    expect(tab.page.locator("#chats")).to_be_hidden()
    expect(tab.page.get_by_label("Your message")).to_be_focused()


def test_it_is_used_with_the_keyboard_alone(server: Server, tab: Tab):
    tab.open(server.base)
    tab.talkative(8)
    tab.page.get_by_label("Your message").focus()
    tab.page.keyboard.type("One")
    tab.page.keyboard.press("Shift+Enter")
    tab.page.keyboard.type("Two")
    tab.page.keyboard.press("Enter")
    tab.wait_until_written()
    assert tab.asked[-1]["messages"][-1]["content"] == "One\nTwo"
    expect(tab.page.get_by_role("log", name="What was answered")).to_have_text(re.compile(r"\w"))
    tab.messages().first.get_by_role("button", name="Delete").focus()
    tab.page.keyboard.press("Enter")
    expect(tab.messages()).to_have_count(1)


def test_undo_puts_a_message_back_where_it_was_and_takes_nothing_newer_away(server: Server, tab: Tab):
    tab.open(server.base)
    tab.talkative(8)
    tab.say("One.")
    tab.messages().first.hover()
    tab.messages().first.get_by_role("button", name="Delete").click()
    tab.say("Two.")
    tab.button("Undo").click()
    expect(tab.messages("You").locator(".text")).to_have_text(["One.", "Two."])
    expect(tab.messages()).to_have_count(4)


def test_a_chat_that_is_deleted_while_it_is_answered_stays_deleted_until_it_is_wanted_back(server: Server, tab: Tab):
    tab.begin_long_reply(server.base)
    tab.button("Delete Tell me of a dragon.").click()
    server.wait_until_quiet()
    expect(tab.messages()).to_have_count(0)
    tab.button("Undo").click()
    expect(tab.messages().last.locator(".text")).not_to_be_empty()
    tab.button("Delete Tell me of a dragon.").click()
    expect(tab.messages()).to_have_count(0)
    tab.page.reload()
    tab.wait_until_ready()
    expect(tab.messages()).to_have_count(0)


def test_two_messages_can_be_edited_at_once_and_each_edit_goes_where_it_began(server: Server, tab: Tab):
    tab.begin_chat(server.base)
    first = tab.last_text()
    tab.button("Retry").click()
    tab.wait_until_written()
    for message, text in ((tab.messages().first, "What are you?"), (tab.messages().last, "The keeper.")):
        message.get_by_role("button", name="Edit").click()
        message.get_by_label("The message").fill(text)
    expect(tab.button("The reply before")).to_be_hidden()
    for message in (tab.messages().last, tab.messages().first):
        message.get_by_role("button", name="Save", exact=True).click()
    expect(tab.messages().locator(".text")).to_have_text(["What are you?", "The keeper."])
    tab.button("The reply before").click()
    expect(tab.messages().last.locator(".text")).to_have_text(first)


def test_save_and_answer_ends_the_reply_that_is_being_written(server: Server, tab: Tab):
    tab.begin_chat(server.base)
    tab.messages().first.get_by_role("button", name="Edit").click()
    tab.page.get_by_label("The message").fill("What are you?")
    tab.talkative(LONG)
    tab.write("Tell me of a dragon.")
    expect(tab.messages().nth(3).locator(".text")).not_to_be_empty()
    tab.talkative(8)
    tab.button("Save and answer").click()
    expect(tab.messages()).to_have_count(2)
    tab.wait_until_written()
    assert tab.asked[-1]["messages"] == [{"role": "user", "content": "What are you?"}]
    tab.button("Keep it as a branch").click()
    expect(tab.messages("You").last.locator(".text")).to_have_text("Tell me of a dragon.")


def test_what_is_typed_and_not_sent_survives_a_reload_and_belongs_to_its_chat(server: Server, tab: Tab):
    tab.begin_chat(server.base)
    tab.page.get_by_label("Your message").fill("half a thou")
    tab.page.reload()
    expect(tab.page.get_by_label("Your message")).to_have_value("half a thou")
    tab.button("New chat").click()
    expect(tab.page.get_by_label("Your message")).to_have_value("")
    tab.button("Who are you?").click()
    expect(tab.page.get_by_label("Your message")).to_have_value("half a thou")


def test_a_thought_is_unfolded_and_text_is_marked_while_it_is_written(own_server: Server, tab: Tab, tmp_path: Path):
    serve_thinker(own_server, tmp_path, budget=60)
    tab.open(own_server.base)
    tab.talkative(LONG)
    tab.write("What is two and two?")
    tab.messages().last.get_by_text("Thinking…").click()
    thought = tab.messages().last.locator(".thought-text")
    expect(thought).to_be_visible()
    tab.wait_until_written()
    expect(thought).to_be_visible()


def test_the_page_stays_where_the_reader_is_while_a_reply_is_written(server: Server, tab: Tab):
    tab.page.set_viewport_size({"width": 1100, "height": 600})
    tab.open(server.base)
    tab.talkative(8)
    tab.say("The tavern is full of guests.\n\n" * 20)
    tab.talkative(LONG)
    tab.write("Tell me of a dragon.")
    tab.wait_for_words()
    thread = tab.page.locator("#thread")
    thread.evaluate("thread => { thread.scrollTop = 10; }")
    tab.wait_until_written()
    assert thread.evaluate("thread => thread.scrollTop") == 10


def test_a_browser_that_keeps_nothing_says_so_and_chats_all_the_same(server: Server, tab: Tab):
    tab.page.add_init_script("delete IDBFactory.prototype.open; IDBFactory.prototype.open = () => new EventTarget();")
    tab.begin_chat(server.base)
    assert tab.last_text()
    expect(tab.page.locator("#not-kept")).to_be_visible()
    tab.button("Export all").click()


def test_a_key_typed_and_not_wanted_is_not_taken(server: Server, tab: Tab):
    tab.open(server.base)
    tab.button("Key…").click()
    tab.page.get_by_label("Key", exact=True).fill("oops")
    tab.page.keyboard.press("Escape")
    tab.button("Key…").click()
    expect(tab.page.get_by_label("Key", exact=True)).to_have_value("")


def test_a_number_that_cannot_be_is_told_and_not_sent(server: Server, tab: Tab):
    tab.open(server.base)
    tab.wait_until_ready()
    tab.talkative(8)
    tab.button("Settings").click()
    tab.page.get_by_label("Temperature").fill("-5")
    expect(
        tab.page.get_by_role("alert").filter(has_text="Temperature: it must be a number from 0 to 10.")
    ).to_be_visible()
    tab.page.keyboard.press("Escape")
    tab.say("Hello!")
    assert "temperature" not in tab.asked[-1]


def drawn_by_the_page(tab: Tab, texts: list[str]) -> list[str]:
    """Replies as HTML."""
    return tab.page.evaluate(
        """async (texts) => {
            const { blocksOf, drawn } = await import("/page/markdown.js");
            return texts.map((text) => blocksOf(text).map((block) => drawn(block).outerHTML).join(""));
        }""",
        texts,
    )


def test_marks_that_models_use_are_drawn_as_they_mean_them(server: Server, tab: Tab):
    tab.open(server.base)
    assert dict(zip(MARKS, drawn_by_the_page(tab, list(MARKS)), strict=True)) == MARKS


def test_very_long_replies_are_drawn_quickly_enough(server: Server, tab: Tab):
    tab.open(server.base)
    odd = [" " * 100_000, "*" * 100_000, '"' * 99_999, "**a" * 30_000, "`" * 100_001, "```\n" * 20_000]
    assert all(drawn_by_the_page(tab, odd)[1:])  # blanks alone are nothing


def test_the_phones_list_of_chats_is_closed_with_escape(server: Server, tab: Tab):
    tab.page.set_viewport_size({"width": 360, "height": 700})
    tab.open(server.base)
    tab.button("Chats").click()
    expect(tab.button("New chat")).to_be_focused()
    tab.page.keyboard.press("Escape")
    expect(tab.page.locator("#chats")).to_be_hidden()
    expect(tab.button("Chats")).to_be_focused()


def test_settings_that_are_open_in_one_tab_do_not_undo_what_another_sets(server: Server, tab: Tab, other: Tab):
    tab.begin_chat(server.base)
    other.join_chat(server.base)
    other.button("Settings").click()
    tab.button("Settings").click()
    tab.page.get_by_label("System prompt").fill("You are the keeper.")
    tab.button("Done").click()
    other.page.get_by_label("Your name").fill("Ysolda")
    other.button("Done").click()
    expect(tab.page.locator("#chat-list li")).to_have_count(2)
    tab.button("Settings").click()
    expect(tab.page.get_by_label("System prompt")).to_have_value("You are the keeper.")


def test_a_chat_that_is_deleted_in_one_tab_leaves_the_other(server: Server, tab: Tab, other: Tab):
    tab.begin_chat(server.base)
    other.join_chat(server.base)
    tab.button("Delete Who are you?").click()
    expect(other.messages()).to_have_count(0)
    tab.button("Undo").click()
    expect(other.button("Who are you?")).to_be_visible()


def test_a_draft_stays_with_its_chat_when_that_is_kept(server: Server, tab: Tab):
    tab.open(server.base)
    tab.page.get_by_label("Your message").fill("half a thou")
    tab.button("Settings").click()
    tab.page.get_by_label("Title", exact=True).fill("Named")
    tab.button("Done").click()
    expect(tab.page.locator("h1")).to_have_text("Named")
    tab.page.reload()
    expect(tab.page.get_by_label("Your message")).to_have_value("half a thou")
    tab.button("New chat").click()
    expect(tab.page.get_by_label("Your message")).to_have_value("")


def test_chats_that_come_late_do_not_take_the_page_away(server: Server, tab: Tab):
    tab.begin_chat(server.base)
    tab.page.add_init_script(
        """const open = IDBFactory.prototype.open;
        IDBFactory.prototype.open = function (...asked) {
            const late = new EventTarget();
            setTimeout(() => {
                const request = open.apply(this, asked);
                for (const kind of ["success", "error"]) request.addEventListener(kind, () => {
                    late.result = request.result;
                    late.dispatchEvent(new Event(kind));
                });
            }, 1500);
            return late;
        };"""
    )
    tab.page.reload()
    tab.page.get_by_label("Your message").fill("typed early")
    expect(tab.button("Who are you?")).to_be_visible()
    expect(tab.page.get_by_label("Your message")).to_have_value("typed early")


def test_calls_that_are_numbered_with_gaps_leave_nothing_stuck(server: Server, tab: Tab):
    tab.open(server.base)
    call = {"index": 1, "id": "c", "function": {"name": "roll_dice", "arguments": '{"count": 1,\n"sides": 6}'}}
    tab.hears({"choices": [{"delta": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]}, whole=True)
    tab.say("Roll!")
    expect(tab.messages("Tool")).to_have_count(3)
    expect(tab.messages().last.locator(".calls p")).to_have_count(1)
    expect(tab.messages().last).to_contain_text("It went on calling tools, so this page stopped it.")


def test_on_a_phone_a_deleted_chat_can_be_brought_back_and_turning_it_leaves_nothing_locked(server: Server, tab: Tab):
    tab.page.set_viewport_size({"width": 360, "height": 700})
    tab.begin_chat(server.base)
    tab.button("Chats").click()
    tab.button("Delete Who are you?").click()
    tab.button("Undo").click()
    expect(tab.messages()).to_have_count(2)
    tab.button("Chats").click()
    tab.page.set_viewport_size({"width": 900, "height": 400})
    tab.say("Still there?")


def test_something_else_at_the_address_is_told(server: Server, tab: Tab):
    tab.page.route("**/health", lambda route: route.fulfill(status=502, content_type="text/html", body="<html>"))
    tab.open(server.base)
    expect(tab.page.locator("#status")).to_contain_text("What answers at this address is not Tavernkeep.")
