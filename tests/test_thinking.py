"""Thinking told apart from speech: by tags, however the tokens split; the engine ends it when its budget is used."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from server.engine.client import Generation
from server.engine.engine import Engine
from server.engine.token_stream import Said, TokenStream
from server.events import Constraint, ConstraintKind, EngineEvent, Finished, FinishReason, Generate, TextPiece, Thinking
from tests.fake_model import END_THINK, THINK, AlwaysPays, FakeDrafter, FakeModel, Scripts, eager_drafts, tokens_of

TAGS = (
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),
    ("<|channel|>analysis<|message|>", "<|end|>"),
    ("<|channel>thought", "<channel|>"),
    ("◁think▷", "◁/think▷"),
)
DROPPED = ("<|start|>assistant", "<|channel|>final<|message|>")
GENERIC = Thinking(TAGS, dropped=DROPPED)
STOPS = ("#", "\nYou:", "<|")
OPENINGS, CLOSINGS = (tuple(texts) for texts in zip(*TAGS, strict=True))


def told_apart(text: str, thinking: Thinking, stops: tuple[str, ...]) -> tuple[str, str]:
    """The whole reply at once, letter by letter: what is said and what is thought."""
    said, thoughts, pending = "", [""] if thinking.closes else [], ""
    end, seen = thinking.closes, False
    fresh = thought_before = bool(end)
    text_before_stop = None
    orphan = False

    def unsay() -> None:
        nonlocal said, orphan
        if orphan:
            thoughts.append(said)
            said, orphan = "", False

    def say(words: str) -> None:
        nonlocal said, fresh, text_before_stop
        if not words.isspace():
            unsay()
        if fresh and not words.isspace():
            words, fresh = words.lstrip(), False
        if not fresh:
            said += words
        places = [(said.find(stop) + len(stop), said.find(stop)) for stop in stops if stop in said]
        # White space in front may still belong to a thought, so it stops nothing yet.
        if places and said.strip() and text_before_stop is None:
            text_before_stop = said[: min(places)[1]]

    marks = {*OPENINGS, *CLOSINGS, *thinking.dropped} - set(stops)
    for letter in text:
        pending += letter
        if end:
            if pending.endswith(end):
                thoughts[-1] = pending[: -len(end)]
                pending, end, fresh = "", "", True
                seen = True
            continue
        mark = max((mark for mark in marks if pending.endswith(mark)), key=len, default="")
        if not mark:
            continue
        for word in pending[: -len(mark)]:
            say(word)
        pending = ""
        if text_before_stop is not None:
            break
        if mark in OPENINGS:
            unsay()
            end = dict(TAGS)[mark]
            said = said if thought_before or said.strip() else ""
            fresh = fresh or not said.strip()
            thoughts.append("")
            thought_before = True
        elif mark in CLOSINGS and not seen:
            orphan = fresh = thought_before = True
        seen = True
    if end:
        thoughts[-1] = pending
    elif text_before_stop is None:
        for word in pending:
            say(word)
    return (said if text_before_stop is None else text_before_stop), "".join("".join(thoughts).split())


def fed(pieces: list[bytes], thinking: Thinking | None = GENERIC, stops: tuple[str, ...] = ()) -> Said:
    stream = TokenStream(stops, thinking=thinking)
    said = Said()
    for piece in pieces:
        said = said.then(stream.push(piece))
        if stream.stopped:
            break
    return said.then(stream.finish())


def heard(text: str, thinking: Thinking = GENERIC, stops: tuple[str, ...] = ()) -> tuple[str, str]:
    """What is said and thought, the same in one piece and byte by byte."""
    whole = fed([text.encode()], thinking, stops)
    assert fed([bytes([byte]) for byte in text.encode()], thinking, stops) == whole
    return whole.text, whole.thought


words = st.text("ab #\n<|/é🙂", max_size=6)
thoughts = st.builds(lambda tag, inner: tag[0] + inner + tag[1], st.sampled_from(TAGS), words)
segments = st.one_of(words, thoughts, st.sampled_from((*OPENINGS, *CLOSINGS, *DROPPED, "\nYou:")))
replies = st.lists(segments, max_size=6).map("".join)
prompts = st.sampled_from((GENERIC, Thinking(TAGS, closes="</think>", dropped=DROPPED)))
stop_lists = st.lists(st.sampled_from(STOPS), unique=True, max_size=2).map(tuple)


@settings(max_examples=400, deadline=None)
@given(replies, prompts, stop_lists)
@example("Well met!</think>", GENERIC, ())
@example(" </think> ", GENERIC, ())
@example("Hm.</think> <think>Hm.</think> Well met!", GENERIC, ())
def test_every_reply_is_told_apart_as_if_it_were_read_at_once(text, thinking, stops):
    said = fed([text.encode()], thinking, stops)
    text_expected, thought_expected = told_apart(text, thinking, stops)
    assert said.text == text_expected
    assert "".join(said.thought.split()) == thought_expected


@settings(max_examples=200, deadline=None)
@given(replies, prompts, stop_lists, st.data())
def test_it_does_not_depend_on_where_the_tokens_split(text, thinking, stops, data):
    whole = fed([text.encode()], thinking, stops)
    raw = text.encode()
    for at in range(len(raw) + 1):
        assert fed([raw[:at], raw[at:]], thinking, stops) == whole
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=8)))
    assert fed([raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)], thinking, stops) == whole


@settings(max_examples=200, deadline=None)
@given(replies, stop_lists)
def test_neither_tags_nor_stop_texts_are_ever_said(text, stops):
    stream = TokenStream(stops, thinking=GENERIC)
    pieces = [stream.push(letter.encode()).text for letter in text]
    said = "".join(pieces)
    assert not any(stop in said for stop in stops)
    # Two halves around something dropped may make a tag; the pieces as they leave never hold one.
    assert not any(tag in piece for piece in pieces for tag in (*OPENINGS, *CLOSINGS))


def test_a_closing_tag_with_nothing_behind_it_silences_nobody():
    assert heard("Well met!</think>\n") == ("Well met!", "")


@pytest.mark.parametrize(("start", "end"), TAGS)
def test_a_thought_is_not_said(start, end):
    assert heard(f"\n{start}\nWho is this?\n{end}\n\nWell met!") == ("Well met!", "Who is this?")


def test_a_harmony_reply_loses_its_channels():
    text = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Well met!"
    assert heard(text) == ("Well met!", "Hm.")


def test_a_stop_text_in_a_thought_or_right_behind_it_stops_nothing():
    assert heard("<think># one\n</think>\n\nWell met!\nAnd", stops=("#", "\n")) == ("Well met!", "# one")


def test_a_closing_tag_alone_shows_that_all_before_it_was_thought():
    stream = TokenStream(thinking=GENERIC)
    assert stream.push(b"Let me craft a reply. </th") == Said("Let me craft a reply. ")
    assert stream.push(b"ink>\nHello") == Said("Hello", unsaid=True)
    assert stream.push(b"</think>!") == Said("!")


def test_a_closing_tag_after_a_channel_was_chosen_takes_nothing_back():
    assert heard("<|channel|>final<|message|>Well met!<|end|>") == ("Well met!", "")


def test_a_closing_tag_that_is_a_stop_text_ends_the_reply():
    assert heard("Well met!<|end|>", stops=("<|end|>",)) == ("Well met!", "")


def test_an_opening_tag_in_a_thought_is_thought():
    assert heard("<think>a <think> b</think>c") == ("c", "a <think> b")


def test_a_thought_without_an_end_is_a_thought():
    assert heard("<think>still</th") == ("", "still</th")


def test_the_prompt_may_have_begun_the_thought():
    assert heard("Hm.</think>Hail", Thinking(TAGS, closes="</think>")) == ("Hail", "Hm.")


def test_two_thoughts_are_kept_apart():
    assert heard("<think>a</think>b<think>c</think>d") == ("bd", "a\n\nc")


def test_only_what_may_become_a_tag_is_held_back():
    stream = TokenStream(thinking=GENERIC)
    assert stream.push(b"a < b <thi").text == "a < b "
    assert stream.push(b"s>").text == "<this>"


# --- in the engine ---

ONE_TAG = (("<THINK>", "</THINK>"),)
SPECIAL = ("<THINK>", "</THINK>")


def run(model: FakeModel, request: Generate, **options: object) -> list[EngineEvent]:
    engine = Engine(model, lambda: 1.0, **options)
    events = engine.submit(request)
    while not engine.idle:
        events += engine.step()
    return events


def reply_to(script: Scripts, max_tokens: int = 60, **request: object) -> tuple[str, str, Finished]:
    ((prompt, _),) = script.items()
    return result(run(FakeModel(script), Generate(1, tokens_of(prompt), max_tokens, **request)))


def result(events: list[EngineEvent]) -> tuple[str, str, Finished]:
    said = Said()
    for event in events[:-1]:
        assert isinstance(event, TextPiece)
        said = said.then(Said(event.text, event.thought, event.unsaid))
    assert isinstance(events[-1], Finished)
    return said.text, said.thought, events[-1]


def thinking(budget: int = -1, closes: str = "", closing: str = "") -> Thinking:
    return Thinking(ONE_TAG, closes=closes, budget=budget, closing=closing)


def test_special_tokens_that_are_shown_are_tags():
    script = [THINK, *tokens_of("hm"), END_THINK, *tokens_of("hail")]
    text, thought, finished = reply_to({"hi": script}, thinking=thinking(), shown=SPECIAL)
    assert (text, thought, finished.completion_tokens) == ("hail", "hm", 9)
    assert finished.thought_tokens == len("hm") + 1  # and the tag that ends it


def test_special_tokens_that_are_not_shown_have_no_text():
    text, thought, _ = reply_to({"hi": [THINK, *tokens_of("hm")]}, thinking=thinking())
    assert (text, thought) == ("hm", "")


def test_a_reply_without_a_thought_has_no_tokens_of_one():
    assert reply_to({"hi": "hail"}, thinking=thinking())[2].thought_tokens == 0
    assert reply_to({"hi": "hail"})[2].thought_tokens == 0


def test_a_thought_ends_when_its_budget_is_used():
    script = [THINK, *tokens_of("abcdef")]
    text, thought, finished = reply_to({"hi": script}, thinking=thinking(budget=3), shown=SPECIAL)
    assert (text, thought) == ("def", "abc")
    assert finished.completion_tokens == 1 + 3 + len("\n#\n\n") + 3 + 1


@pytest.mark.parametrize(("closes", "begin"), [("</THINK>", ()), ("", (THINK,))])
def test_a_budget_of_nothing_allows_no_thought(closes, begin):
    script = [*begin, *tokens_of("hail")]
    text, thought, _ = reply_to({"hi": script}, thinking=thinking(budget=0, closes=closes), shown=SPECIAL)
    assert (text, thought) == ("hail", "")


def test_the_closing_text_may_say_more_than_the_tag():
    how = thinking(budget=2, closes="</THINK>", closing=" Enough.</THINK>")
    text, thought, _ = reply_to({"hi": "hmhail"}, thinking=how, shown=SPECIAL)
    assert (text, thought) == ("hail", "hm Enough.")


def test_the_length_of_a_reply_counts_while_a_thought_is_closed():
    how = thinking(budget=2, closes="</THINK>")
    _, _, finished = reply_to({"hi": "hmhail"}, max_tokens=3, thinking=how, shown=SPECIAL)
    assert (finished.reason, finished.completion_tokens) == (FinishReason.LENGTH, 3)


def test_a_guess_never_beats_the_end_of_a_thought():
    script: Scripts = {"hi": [THINK, *tokens_of("abcdefgh")]}
    model = FakeModel(script, draft_room=16)
    drafts = eager_drafts(FakeDrafter(script), AlwaysPays(4), room=16, context=200)
    request = Generate(1, tokens_of("hi"), 60, thinking=thinking(budget=3), shown=SPECIAL)
    text, thought, _ = result(run(model, request, drafts=drafts))
    assert (text, thought) == ("defgh", "abc")


def test_what_a_reply_must_look_like_does_not_bind_its_thoughts():
    model = FakeModel({"hi": [THINK, *tokens_of("a"), END_THINK, *tokens_of("{}")]})
    constraint = Constraint(ConstraintKind.JSON_SCHEMA, "{}")
    request = Generate(1, tokens_of("hi"), 60, constraint=constraint, thinking=thinking(), shown=SPECIAL)
    run(model, request)
    opening = frozenset({THINK})
    free, bound = (False, frozenset()), (True, frozenset())
    assert model.samplers.made[0].draws == [(True, opening), free, free, (True, opening), bound, bound]


def test_with_no_budget_no_thought_may_open():
    model = FakeModel({"hi": "a"})
    run(model, Generate(1, tokens_of("hi"), 60, thinking=thinking(budget=0)))
    assert model.samplers.made[0].draws == [(True, frozenset())] * 2


def test_a_reply_that_is_preempted_in_its_thought_keeps_what_is_left_of_its_budget():
    model = FakeModel({name: [THINK, *tokens_of(name * 150)] for name in ("a", "b")})
    engine = Engine(model, lambda: 1.0)
    for name in ("a", "b"):
        engine.submit(Generate(ord(name), tokens_of(name), 150, thinking=thinking(budget=120), shown=SPECIAL))
    events: list[EngineEvent] = []
    waited = False
    while not engine.idle:
        events += engine.step()
        waited = waited or bool(engine.stats().waiting)
    text, thought, _ = result([event for event in events if event.request_id == ord("b")])
    assert waited
    assert (text, thought) == ("b" * (150 - 1 - 120 - len("\n#\n\n")), "b" * 120)


# --- in the launcher ---


def generation_after(*pieces: TextPiece) -> Generation:
    generation = Generation(Generate(1, (1,), 60), lambda _: None, genkey="", client="", route="")
    for piece in pieces:
        generation.deliver(piece)
    return generation


def test_what_is_thought_is_gathered_apart_from_what_is_said():
    generation = generation_after(TextPiece(1, "", 2, thought="Hm"), TextPiece(1, "Hail", 5, thought="."))
    generation.deliver(TextPiece(1, "!", 6))
    assert (generation.text, generation.thought, generation.tokens) == ("Hail!", "Hm.", 6)


def test_what_was_thought_after_all_is_gathered_behind_the_thought_so_far():
    generation = generation_after(TextPiece(1, "A guest", 2, thought="Hm. "), TextPiece(1, " comes.", 4))
    generation.deliver(TextPiece(1, "Hail", 7, thought=" Well.", unsaid=True))
    assert (generation.text, generation.thought, generation.tokens) == ("Hail", "Hm. A guest comes. Well.", 7)
