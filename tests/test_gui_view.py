"""What the window decides without a display: form to settings, snapshot to words."""

import dataclasses
import re
import subprocess
import sys

import pytest

from gui.view import advanced
from gui.view.forecast import memory_view
from gui.view.form import (
    AT_ONCE,
    THINKING,
    Form,
    Inspection,
    context_stops,
    fitting_context,
    form_of,
    form_view,
    gpulayers_at,
    help_of,
    model_path,
    nearest_stop,
    settings_of,
    template_label,
)
from gui.view.looks import ButtonRole, ButtonView, Pending, Tone
from gui.view.status import LONGEST_PROBLEM, status_view
from gui.view.words import plain_number, size_words
from server.errors import SettingsError
from server.events import EngineState, EngineStats, ModelInfo
from server.loading import SEQUENCES, capacity
from server.settings import Settings, rule_of
from server.snapshot import (
    Fit,
    Forecast,
    MemoryPool,
    MemoryShare,
    ModelFile,
    Preview,
    RequestRow,
    Snapshot,
    TemplateInfo,
    Trimmed,
)

FILE = ModelFile(
    path="/models/a.gguf",
    size=98_000_000,
    architecture="llama",
    name="A",
    quantisation="Q4_1",
    layers=30,
    trained_context=8192,
    chat_template="{{ messages }}",
)
INFO = ModelInfo(
    name="A",
    path="/models/a.gguf",
    architecture="llama",
    parameters=134_515_008,
    size=98_000_000,
    quantisation="Q4_1",
    layers=30,
    trained_context=8192,
    context=8192,
    chat_template="",
    bos_text="",
    eos_text="",
    devices=("Some GPU", "Some CPU"),
    cpu_variant="haswell",
)
FORM = form_of(Settings(model="/models/a.gguf"), "")
ADDRESS = "http://127.0.0.1:5001"


def form_with(**changes):
    return Form(**{**vars(FORM), **changes})


def view_of(form=FORM, *, file=FILE, problem="", snapshot=None, pending=Pending.NONE):
    return form_view(form, Inspection(file, problem), snapshot or Snapshot(), pending)


def running(trimmed=None):
    return RequestRow(1, "SkyrimNet", "/v1/chat/completions", 8000, 12, trimmed)


def live(state=EngineState.IDLE, *, pending=Pending.NONE, notice="", **snapshot):
    return status_view(Snapshot(state=state, **snapshot), pending, notice)


def test_view_state_and_theme_need_no_tkinter():
    code = "import sys, gui.view.status, gui.theme; sys.exit('tkinter' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- form and settings


def test_the_form_shows_the_settings_and_gives_them_back():
    server = {"host": "0.0.0.0", "port": 5002, "password": "x"}
    chat = {"chatcompletionsadapter": "ChatML", "thinking": "hide"}
    settings = Settings(model="/models/a.gguf", gpulayers=7, contextsize=4096, gamemode=True, **chat, **server)
    assert settings_of(form_of(settings, "/starter.gguf"), Settings()) == settings


def test_requests_may_wait_only_where_the_menu_says_so():
    """Those that are let in and do not run wait; one more is told that the server is busy."""
    for value, label in AT_ONCE:
        waiting = max(capacity(Settings(multiuser=int(value))) - SEQUENCES, 0)
        assert (f"{waiting} may wait" if waiting else "nobody waits") in label


def test_the_starter_model_stands_in_when_no_model_is_set():
    assert form_of(Settings(), "/starter.gguf").model == "/starter.gguf"


def test_settings_that_have_no_field_are_kept():
    assert settings_of(form_with(options=()), Settings(threads=3)).threads == 3


def test_every_setting_can_be_changed_in_the_window():
    folded = {option.name for _, options in advanced.groups() for option in options}
    shown = {"model", "gpulayers", "contextsize", "chatcompletionsadapter", "thinking", "host", "port", "password"}
    shown |= {"allowclients", "gamemode", "reservevram", "multiuser"}
    assert not folded & shown
    assert folded | shown == {field.name for field in dataclasses.fields(Settings)}


@pytest.mark.parametrize(
    ("changes", "typed"),
    [
        ({"threads": 3}, "3"),
        ({"lowvram": True}, "on"),
        ({"usemmap": False}, ""),
        ({"quantkv": 2}, "2"),
        ({"tensor_split": (3.0, 1.0)}, "3.0; 1.0"),
        ({"lora": ("/a,b.gguf", "/c.gguf")}, "/a,b.gguf; /c.gguf"),
        ({"gendefaults": '{"temperature": 0.5}'}, '{"temperature": 0.5}'),
    ],
)
def test_further_options_are_shown_and_read_back(changes, typed):
    settings = Settings(model="/a.gguf", **changes)
    form = form_of(settings, "")
    assert dict(form.options)[next(iter(changes))] == typed
    assert settings_of(form, Settings()) == settings
    assert view_of(form).options_title == "More options (1 changed)"


def test_an_option_that_cannot_be_read_is_named_as_the_window_calls_it():
    with pytest.raises(SettingsError, match=r"^Threads: 'many' is not a whole number"):
        settings_of(form_with(options=(("threads", "many"),)), Settings())
    assert settings_of(form_with(options=(("threads", " "),)), Settings()).threads == 0


# --- the memory it takes

GB = 10**9
ALL = MemoryShare(4 * GB, GB, GB // 4)


def seen(*pools, fit=Fit.GPU, layers=21):
    return memory_view(Forecast(fit, layers, pools))


def test_the_bar_shows_what_fills_the_gpu():
    view = seen(MemoryPool("A card", 10 * GB, 8 * GB, ALL, GB), MemoryPool("", 32 * GB, 20 * GB, MemoryShare(GB)))
    shares = {part.name: round(share, 3) for part, share in view.parts}
    assert shares == {"OTHERS": 0.2, "WEIGHTS": 0.4, "KV": 0.1, "BUFFERS": 0.025, "RESERVE": 0.1, "FREE": 0.175}
    assert view.text.startswith("A card: 5.2 GB (weights 4.0 GB, KV 1.0 GB, buffers 250 MB) of 8.0 GB free")
    assert view.text.endswith("RAM: 1.0 GB")


def test_without_a_gpu_the_ram_is_shown():
    view = seen(MemoryPool("", 32 * GB, 20 * GB, ALL), fit=Fit.RAM)
    assert view.text.startswith("RAM: 5.2 GB")
    assert view.tone is Tone.QUIET


def test_a_share_of_the_reserve_is_warned_of():
    view = seen(MemoryPool("A card", 8 * GB, 6 * GB, ALL, GB), MemoryPool("", 32 * GB, 20 * GB, MemoryShare()))
    assert view.tone is Tone.BUSY
    assert view.text.endswith("Takes 250 MB of what is left for the game.")


@pytest.mark.parametrize(
    ("gpu", "ram", "words"),
    [(4, 20, "A card: 1.2 GB too little.*fewer GPU layers"), (8, 0.5, "RAM: 500 MB too little.*precision.$")],
)
def test_what_lacks_is_said_with_what_to_do(gpu, ram, words):
    card = MemoryPool("A card", 12 * GB, int(gpu * GB), ALL)
    view = seen(card, MemoryPool("", 32 * GB, int(ram * GB), MemoryShare(GB)), fit=Fit.TOO_LARGE)
    assert re.search(words, view.text)
    assert view.tone is Tone.BAD
    assert sum(share for _, share in view.parts) == pytest.approx(1)


def test_automatic_layers_are_said_as_computed():
    card = MemoryPool("A card", 12 * GB, 8 * GB, ALL)
    for pools, layers, words in (
        ((card, card), 21, "Auto: 21 of 30"),
        ((card, card), 31, "Auto: All 30"),
        ((card,), 0, "Auto: no GPU"),
    ):
        inspection = Inspection(FILE, forecast=Forecast(Fit.GPU, layers, pools))
        assert form_view(form_with(gpulayers=-1), inspection, Snapshot(), Pending.NONE).layers_text == words


# --- the template, before anything is loaded


def test_the_template_is_named_with_its_reason_or_what_speaks_against_it():
    for info, words in (
        (TemplateInfo("ChatML", "a guess", "Its name says so."), "ChatML, a guess. Its name says so."),
        (TemplateInfo("Alpaca", "your choice", "You chose.", "It differs."), "Alpaca, your choice. It differs."),
    ):
        view = form_view(FORM, Inspection(FILE, preview=Preview(info, "text")), Snapshot(), Pending.NONE)
        assert (view.template_line, view.preview) == (words, "text")
    bad = form_view(FORM, Inspection(FILE, template_problem="It cannot be read."), Snapshot(), Pending.NONE)
    assert (bad.template_line, bad.template_tone, bad.preview) == ("It cannot be read.", Tone.BAD, "")


@pytest.mark.parametrize(
    ("state", "changed", "pending", "offered"),
    [
        (EngineState.READY, True, Pending.NONE, True),
        (EngineState.READY, False, Pending.NONE, False),
        (EngineState.READY, True, Pending.STOPPING, False),
        (EngineState.IDLE, True, Pending.NONE, False),
    ],
)
def test_a_restart_is_offered_where_a_running_server_does_not_do_what_the_form_says(state, changed, pending, offered):
    view = form_view(FORM, Inspection(FILE), Snapshot(state=state), pending, changed=changed)
    assert view.can_restart is offered


def test_layers_beyond_the_slider_survive():
    assert settings_of(form_of(Settings(gpulayers=99), "/a.gguf"), Settings()).gpulayers == 99


@pytest.mark.parametrize(
    ("field", "typed", "sentence"),
    [
        ("port", "http", "Port: 'http' is not a whole number."),
        ("port", "70000", "Port: 70000 is too large; the most is 65535."),
        ("port", "", "Port: the field is empty."),
        ("contextsize", "12", "Context size: 12 is too small; the least is 256."),
        ("contextsize", "lots", "Context size: 'lots' is not a whole number."),
    ],
)
def test_a_field_that_cannot_be_used_is_named_as_the_window_names_it(field, typed, sentence):
    with pytest.raises(SettingsError) as error:
        settings_of(form_with(**{field: typed}), Settings())
    assert error.value.message == sentence


@pytest.mark.parametrize(("typed", "meant"), [("8192", "8192"), ("8,192", "8192"), ("8 192", "8192"), ("16k", "16384")])
def test_numbers_may_be_written_as_people_write_them(typed, meant):
    assert plain_number(typed) == meant


def test_a_path_copied_with_quotes_is_understood(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("USERPROFILE", "/home/me")
    assert model_path('  "/models/a b.gguf" ') == "/models/a b.gguf"
    assert model_path("~/a.gguf") == "/home/me/a.gguf"
    assert model_path("   ") == ""


# --- the sliders


def test_context_stops_end_at_what_the_model_was_trained_for():
    assert context_stops(8192)[-2:] == (6144, 8192)
    assert context_stops(40000)[-2:] == (32768, 40000)


def test_an_odd_model_has_at_least_one_stop():
    assert context_stops(256) == (256,)


def test_an_unknown_trained_context_still_gives_a_useful_slider():
    assert context_stops(0)[-1] == 131072


def test_a_typed_size_rests_at_the_nearest_stop():
    stops = context_stops(131072)
    assert stops[nearest_stop(stops, 9000)] == 8192
    assert nearest_stop(stops, 10_000_000) == len(stops) - 1
    assert nearest_stop(stops, -5) == 0


def test_a_size_nobody_chose_is_lowered_to_the_trained_context():
    assert fitting_context("16384", FILE) == "8192"
    assert fitting_context("4096", FILE) == "4096"
    assert fitting_context("lots", FILE) == "lots"


@pytest.mark.parametrize(
    ("gpulayers", "words", "position"),
    [(-1, "Auto", -1), (0, "CPU only", 0), (12, "12 of 30", 12), (31, "All 30", 30), (99, "All 30", 30)],
)
def test_gpu_layers_are_said_in_words(gpulayers, words, position):
    view = view_of(form_with(gpulayers=gpulayers))
    assert (view.layers_text, view.layers_position) == (words, position)


def test_the_right_end_of_the_layers_slider_means_the_output_layer_too():
    assert gpulayers_at(30, 30) == 31
    assert gpulayers_at(-1, 30) == -1


def test_without_a_layer_count_there_is_nothing_to_slide():
    view = view_of(file=None)
    assert (view.layers, view.layers_text) == (0, "Auto")


def test_more_context_than_trained_is_allowed_but_said():
    view = view_of(form_with(contextsize="16384"))
    assert "8,192" in view.context_hint
    assert view.context_tone is Tone.BUSY
    assert view.stop == len(view.stops) - 1


# --- the rest of the form


def test_the_model_line_describes_the_file():
    assert view_of().model_line == "llama · Q4_1 · 98 MB · 30 layers · trained for 8,192 tokens"


def test_the_model_line_says_when_no_template_is_inside():
    bare = ModelFile("/a.gguf", 0, "", "", "", 0, 0, "")
    assert view_of(file=bare).model_line == "no instruct template inside"


def test_a_bad_file_is_said_in_the_model_line():
    view = view_of(file=None, problem="a.gguf is not a GGUF file.")
    assert (view.model_line, view.model_tone) == ("a.gguf is not a GGUF file.", Tone.BAD)


def test_without_a_model_start_is_off_and_the_line_says_why():
    view = view_of(form_with(model=" "), file=None)
    assert not view.start.enabled
    assert view.model_line == "Choose a GGUF model file to start."


def test_a_file_still_being_read_is_said():
    assert view_of(file=None).model_line == "Reading the file…"


@pytest.mark.parametrize(
    ("state", "pending", "button", "locked"),
    [
        (EngineState.IDLE, Pending.NONE, ButtonView("Start", ButtonRole.START, True), False),
        (EngineState.IDLE, Pending.STARTING, ButtonView("Starting…", ButtonRole.BUSY, False), True),
        (EngineState.LOADING, Pending.NONE, ButtonView("Stop", ButtonRole.STOP, True), False),
        (EngineState.READY, Pending.NONE, ButtonView("Stop", ButtonRole.STOP, True), False),
        (EngineState.READY, Pending.STOPPING, ButtonView("Stopping…", ButtonRole.BUSY, False), True),
        (EngineState.FAILED, Pending.NONE, ButtonView("Start", ButtonRole.START, True), False),
    ],
)
def test_the_big_button_follows_the_state(state, pending, button, locked):
    view = view_of(snapshot=Snapshot(state=state), pending=pending)
    assert (view.start, view.locked) == (button, locked)


def test_a_server_without_a_model_can_still_be_stopped():
    assert view_of(snapshot=Snapshot(EngineState.FAILED, address=ADDRESS)).can_stop_server
    assert not view_of(snapshot=Snapshot(EngineState.FAILED)).can_stop_server
    assert not view_of(snapshot=Snapshot(EngineState.READY, address=ADDRESS)).can_stop_server


def test_a_tip_is_the_settings_own_help():
    assert help_of("gamemode").startswith("Leave the processor to the game")


@pytest.mark.parametrize(
    ("setting", "label"),
    [
        ("AutoGuess", "From the model file (AutoGuess)"),
        ("", "From the model file (AutoGuess)"),
        ("Alpaca", "Alpaca"),
        ("/home/me/templates/mine.jinja", "mine.jinja"),
        ('{"user_start": "/"}', "Your own text"),
        ("{% for message in messages %}", "Your own text"),
    ],
)
def test_a_template_is_called_as_people_know_it(setting, label):
    assert template_label(setting) == label


def test_every_way_of_thinking_can_be_chosen():
    setting = next(field for field in dataclasses.fields(Settings) if field.name == "thinking")
    assert tuple(value for value, _ in THINKING) == rule_of(setting).choices


def test_every_choice_of_an_option_can_be_made():
    rules = {field.name: rule_of(field) for field in dataclasses.fields(Settings)}
    for option in (option for _, options in advanced.groups() for option in options):
        if rules[option.name].choices:
            assert tuple(value for value, _ in option.choices) == rules[option.name].choices


# --- the live card


@pytest.mark.parametrize(
    ("view", "headline", "tone"),
    [
        (live(), "Stopped", Tone.QUIET),
        (live(address=ADDRESS), "No model loaded", Tone.QUIET),
        (live(pending=Pending.STARTING), "Starting…", Tone.BUSY),
        (live(EngineState.LOADING, progress=0.429), "Loading… 42 %", Tone.BUSY),
        (live(EngineState.READY, address=ADDRESS), f"Ready on {ADDRESS}", Tone.GOOD),
        (live(EngineState.READY, pending=Pending.STOPPING), "Stopping…", Tone.BUSY),
        (live(EngineState.FAILED, sentence="No."), "Failed", Tone.BAD),
        (live(notice="Port 5001 is in use."), "Not started", Tone.BAD),
    ],
)
def test_the_headline_says_the_state(view, headline, tone):
    assert (view.headline, view.tone) == (headline, tone)


def test_progress_is_shown_only_while_loading():
    assert live(EngineState.LOADING, progress=0.4).progress == 0.4
    assert live(EngineState.READY, progress=1.0).progress is None


def test_a_failure_is_explained():
    assert live(EngineState.FAILED, sentence="The file is truncated.").problem == "The file is truncated."
    assert live(EngineState.FAILED).problem == "The engine ended without saying why."


def test_the_newest_problem_wins():
    assert live(EngineState.FAILED, sentence="Old.", notice="New.").problem == "New."


def test_a_crash_that_was_got_over_is_told_beside_the_numbers():
    view = live(EngineState.READY, sentence="It crashed. It was started again.")
    assert view.problem == "It crashed. It was started again."
    assert view.numbers


def test_an_endless_sentence_is_cut():
    problem = live(EngineState.FAILED, sentence="word " * 500).problem
    assert len(problem) < LONGEST_PROBLEM + 40
    assert problem.endswith("… (the rest is in the log)")


def test_speeds_requests_and_context_are_shown_when_ready():
    stats = EngineStats(
        running=8, waiting=2, decode_speed=161.26, prompt_speed=1234.4, cells_used=2048, cells_total=8192
    )
    view = live(EngineState.READY, stats=stats, replies=1200)
    assert (view.speed, view.prompt_speed) == ("161.3", "prompts 1,234 tokens/s")
    assert view.replies == "8 running · 2 waiting · 1,200 sent"
    assert (view.context, view.context_fill) == ("2,048 of 8,192", 0.25)
    assert view.busy


def test_a_speed_in_the_thousands_has_no_decimals():
    assert live(EngineState.READY, stats=EngineStats(decode_speed=1163.7)).speed == "1,164"


def test_what_the_cache_saved_and_holds_is_shown():
    stats = EngineStats(prompt_tokens=12_000, cached_tokens=10_500, cells_cached=1200, ram_used=120_000_000)
    view = live(EngineState.READY, stats=stats)
    assert (view.cached, view.kept) == ("87 % of 12,000 tokens", "1,200 tokens · 120 MB in RAM")


def test_ram_is_not_spoken_of_while_nothing_is_kept_there():
    assert live(EngineState.READY, stats=EngineStats(cells_cached=1200)).kept == "1,200 tokens"


def test_before_the_first_prompt_nothing_can_have_come_from_the_cache():
    assert live(EngineState.READY).cached == "—"


def test_guesses_are_shown_only_where_tokens_are_guessed():
    assert live(EngineState.READY, stats=EngineStats(drafted=200, accepted=129)).drafts == "64 % of 200 tokens"
    assert live(EngineState.READY).drafts == ""


@pytest.mark.parametrize(
    ("threads", "most", "unit"),
    [(2, 6, "tokens/s · 2 of 6 threads"), (6, 6, "tokens/s"), (0, 6, "tokens/s"), (2, 0, "tokens/s")],
)
def test_threads_are_shown_when_fewer_run_than_may(threads, most, unit):
    view = live(EngineState.READY, stats=EngineStats(threads=threads), threads=most)
    assert view.speed_unit == unit


def test_no_numbers_are_invented_while_nothing_runs():
    stats = EngineStats(
        running=3,
        decode_speed=50.0,
        cells_used=9,
        cells_cached=1,
        cells_total=10,
        drafted=9,
        prompt_tokens=9,
        threads=1,
    )
    view = live(EngineState.LOADING, stats=stats, threads=2, replies=7)
    assert (view.speed, view.speed_unit, view.prompt_speed, view.replies) == ("0.0", "tokens/s", "prompts —", "7 sent")
    assert (view.context, view.cached, view.kept, view.drafts) == ("—", "—", "—", "")
    assert not view.busy


@pytest.mark.parametrize(
    ("cuts", "words"),
    [
        ([Trimmed(messages=3, tokens=1512)], "1,512 tokens (3 messages)"),
        ([Trimmed(messages=1, tokens=1)], "1 token (1 message)"),
        ([Trimmed(tokens=512)], "512 tokens"),
        ([Trimmed(messages=3, tokens=512), None, Trimmed(messages=1, tokens=100)], "612 tokens (4 messages)"),
    ],
)
def test_what_the_prompts_of_running_replies_lost_is_said_together(cuts, words):
    view = live(EngineState.READY, requests=tuple(running(cut) for cut in cuts), replies=17, trimmed=3)
    assert (view.trimmed_name, view.trimmed, view.trimming) == ("Cut from prompts", words, True)


def test_how_many_prompts_were_cut_stays_when_the_reply_is_over():
    view = live(EngineState.READY, requests=(running(),), replies=17, trimmed=3)
    assert (view.trimmed_name, view.trimmed, view.trimming) == ("Prompts cut", "3 of 17 replies", False)


def test_prompts_that_fit_are_not_spoken_of():
    view = live(EngineState.READY, requests=(running(),), replies=17)
    assert (view.trimmed, view.trimming) == ("", False)


def test_the_template_is_named_with_where_it_comes_from_and_why():
    info = TemplateInfo("ChatML", "the model's own", "The model file carries it.")
    view = live(EngineState.READY, template=info)
    assert (view.template, view.template_tip) == ("ChatML · the model's own", "ChatML: The model file carries it.")
    assert view.template_warning == ""


def test_what_speaks_against_the_template_is_said_in_full():
    info = TemplateInfo("Alpaca", "the last resort", "Nothing tells its family.", "Choose one.")
    assert live(EngineState.READY, template=info).template_warning == "Choose one."


def test_a_long_template_name_is_cut_in_the_row_and_whole_in_the_tip():
    name = "a-template-of-somebody-for-Mistral-Nemo.jinja"
    view = live(EngineState.READY, template=TemplateInfo(name, "your choice", "It was chosen in the settings."))
    assert view.template == "a-template-of-someb… · your choice"
    assert view.template_tip == f"{name}: It was chosen in the settings."


def test_without_a_model_there_is_no_template():
    assert (live().template, live().template_tip) == ("", "")


@pytest.mark.parametrize(("on_gpu", "words"), [(31, "30 of 30 layers on the GPU"), (7, "7 of 30 layers on the GPU")])
def test_the_layers_on_the_gpu_are_counted(on_gpu, words):
    view = live(EngineState.READY, model=dataclasses.replace(INFO, gpu_layers=on_gpu))
    assert view.model_detail.endswith(words)


def test_the_loaded_model_and_its_devices_are_named():
    view = live(EngineState.READY, model=INFO)
    assert view.model == "A"
    assert view.model_detail == "llama · 135 M parameters · Q4_1 · on Some GPU, Some CPU (haswell)"


def test_both_addresses_can_be_pasted():
    view = live(EngineState.READY, address=f"{ADDRESS}/")
    assert (view.kobold_address, view.openai_address) == (ADDRESS, f"{ADDRESS}/v1")


def test_no_address_is_offered_while_nobody_listens():
    assert (live().kobold_address, live().openai_address) == ("", "")


@pytest.mark.parametrize(
    ("size", "words"),
    [(98_000_000, "98 MB"), (4_920_000_000, "4.9 GB"), (1_500_000, "1.5 MB"), (10, "0.1 MB")],
)
def test_sizes_read_as_people_say_them(size, words):
    assert size_words(size) == words
