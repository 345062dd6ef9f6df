"""Texts that a reply must never say: it goes back and says something else, and nobody sees that it did."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from server.engine import engine
from server.engine.banned_texts import BannedTexts
from server.engine.engine import Engine
from server.engine.token_stream import TokenStream
from server.events import Finished, FinishReason, Generate, TextPiece, Thinking
from tests.fake_model import END_THINK, SPECIAL_TEXTS, THINK, FakeModel, Scripts, tokens_of

CONTEXT = 400


class Reply:
    """What came of one request to a scripted model, which says a digit where a token is banned."""

    def __init__(self, script: str | tuple[int, ...], *banned: str, model: FakeModel | None = None, **how: object):
        scripts: Scripts = {"hi": script}
        self.model = model or FakeModel(scripts, context=CONTEXT)
        running = Engine(self.model)
        request = Generate(1, tokens_of("hi"), **{"max_tokens": 200, "banned": banned, **how})
        events = running.submit(request)
        for _ in range(20_000):
            if running.idle:
                break
            events += running.step()
        self.pieces = [event for event in events if isinstance(event, TextPiece)]
        end = events[-1]
        assert isinstance(end, Finished)
        self.end = end
        self.text = "".join(piece.text for piece in self.pieces)


def test_a_reply_goes_back_to_where_the_text_began_and_says_something_else():
    assert Reply("a shiver ran down my spine", "shiver").text == "a 0hiver ran down my spine"


def test_upper_and_lower_case_count_the_same():
    assert Reply("a SHIver.", "sHIVER").text == "a 0HIver."
    assert Reply("ÄRGER!", "ärger").text == "0RGER!"


def test_each_place_has_its_own_bans():
    assert Reply("no no no", "no").text == "0o 0o 0o"


def test_at_one_place_as_much_is_banned_as_it_takes():
    assert Reply("no", "no", "0o", "1o").text == "2o"


def test_a_text_of_one_letter_is_banned_like_any_other():
    assert Reply("a, b", ",").text == "a0 b"


def test_nobody_sees_any_part_of_a_banned_text():
    reply = Reply("the tapestry of", "tapestry")
    assert reply.text == "the 0apestry of"
    assert [piece.text for piece in reply.pieces][:5] == ["th", "e", " ", "0", "a"]


def test_what_may_still_become_a_banned_text_waits_and_all_else_does_not():
    reply = Reply("abcx abcd", "abcd")
    assert [piece.text for piece in reply.pieces] == ["abcx", " ", "0", "b", "c", "d"]


def test_a_reply_that_ends_in_the_middle_of_one_keeps_what_it_said():
    assert Reply("a shiv", "shiver").text == "a shiv"
    assert Reply("a shiver", "shiver", max_tokens=5).text == "a shi"


def test_tokens_that_were_taken_back_are_not_counted():
    reply = Reply("no", "no", max_tokens=2)
    assert (reply.text, reply.end.completion_tokens, reply.end.reason) == ("0o", 2, FinishReason.LENGTH)


def test_a_stop_text_that_was_taken_back_has_never_stopped_anything():
    reply = Reply("say no. then", "no.", stop=(".",))
    assert reply.text == "say 0o"
    assert reply.end.stop_text


def test_two_banned_texts_may_overlap():
    assert Reply("abcde", "abc", "bcd").text == "00cde"


def test_a_thought_may_hold_what_the_reply_may_not():
    thinking = Thinking((("<THINK>", "</THINK>"),))
    script = (THINK, *tokens_of("no, no"), END_THINK, *tokens_of("no!"))
    reply = Reply(script, "no", thinking=thinking, shown=tuple(SPECIAL_TEXTS))
    assert reply.text == "0o!"
    assert "".join(piece.thought for piece in reply.pieces) == "no, no"


def test_a_text_does_not_reach_across_a_thought():
    thinking = Thinking((("<THINK>", "</THINK>"),))
    script = (*tokens_of("sp"), THINK, *tokens_of("hm"), END_THINK, *tokens_of("ine"))
    assert Reply(script, "spine", thinking=thinking, shown=tuple(SPECIAL_TEXTS)).text == "spine"


def test_a_model_that_cannot_go_back_reads_again():
    model = FakeModel({"hi": "oh no no"}, context=CONTEXT, can_trim=False)
    assert Reply("", "no", model=model).text == "oh 0o 0o"


def test_a_reply_that_goes_back_again_and_again_is_given_up(monkeypatch):
    monkeypatch.setattr(engine, "MOST_IN_VAIN", 5)
    reply = Reply("no" * 50, "no", "0o", "1o", "2o", max_tokens=20)
    assert set(reply.text) <= {"3", "o"}
    assert 0 < reply.end.completion_tokens < 20
    assert reply.end.reason is FinishReason.LENGTH


def test_probabilities_are_told_of_the_tokens_that_stayed():
    reply = Reply("no", "no", logprobs=2)
    told = [entry.token for piece in reply.pieces for entry in piece.logprobs]
    assert told == [b"0", b"o"]
    assert all(len(entry.top) == 2 for piece in reply.pieces for entry in piece.logprobs)


def test_nobody_is_told_probabilities_that_nobody_asked_for():
    assert not any(piece.logprobs for piece in Reply("well met").pieces)


def test_a_reply_that_ignores_the_end_goes_on_behind_it():
    assert Reply((*tokens_of("a"), 256, *tokens_of("b")), bypass_eos=True, max_tokens=3).text == "ab"


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.text("abc ", max_size=40),
    st.lists(st.text("abcABC ", min_size=1, max_size=4), min_size=1, max_size=4),
)
def test_no_reply_ever_holds_a_banned_text(script, banned):
    reply = Reply(script, *banned)
    assert not any(text.lower() in reply.text.lower() for text in banned)
    assert len(reply.text) == len(script)


PIECES = ("a", "b", " a", "ab", "bc", " ", "c", "Ab", "abc", " bca")


@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.lists(st.text("abcB ", min_size=1, max_size=5), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_no_tokens_however_long_they_are_ever_spell_a_banned_text(banned, random):
    stream = TokenStream()
    texts = BannedTexts(banned, stream)
    tokens: list[str] = []
    forbidden: list[set[str]] = [set()]
    left = ""
    while len(tokens) < 30:
        allowed = [piece for piece in (*PIECES, "!") if piece not in forbidden[-1]]
        tokens.append(random.choice(allowed))
        forbidden.append(set())
        before = stream.state()
        left += texts.push(tokens[-1].encode(), stream.push(tokens[-1].encode()), before).text
        if count := texts.written():
            texts.take_back(count)
            first = tokens[-count]
            del tokens[-count:], forbidden[-count:]
            forbidden[-1].add(first)
        assert "".join(tokens).startswith(left)
    left += texts.finish().text + stream.finish().text
    assert left == "".join(tokens)
    assert not any(text.lower() in left.lower() for text in banned)
