"""Token bytes to safe text: whole characters only, cut exactly at the first stop string."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from server.engine.token_stream import TokenStream

LETTERS = st.text("ab#🙂日é\n", max_size=14)
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufffd"), max_size=20)


@st.composite
def texts_and_stops(draw: st.DrawFn) -> tuple[str, tuple[str, ...]]:
    """A text, and stop strings of which most are cut out of it, so that they overlap in every way."""
    text = draw(LETTERS)
    places = st.tuples(st.integers(0, len(text)), st.integers(1, 5))
    inside = [text[start : start + length] for start, length in draw(st.lists(places, max_size=3))]
    return text, (*inside, *draw(st.lists(st.text("ab#🙂日é\n", max_size=4), max_size=2)))


def cut(text: str, stops: tuple[str, ...], keep_stop: bool = False) -> str:
    """What should be read: the stop that is complete first ends the text, and of those the one that began first."""
    hits = [(text.find(stop) + len(stop), text.find(stop)) for stop in stops if stop and stop in text]
    if not hits:
        return text
    end, start = min(hits)
    return text[: end if keep_stop else start]


def stream_of(pieces: list[bytes], stops: tuple[str, ...] = (), keep_stop: bool = False) -> tuple[list[str], bool]:
    """The texts released for each piece, up to and including the end; whether a stop string ended it."""
    stream = TokenStream(stops, keep_stop)
    released = []
    for piece in pieces:
        released.append(stream.push(piece).text)
        if stream.stopped:
            break
    return [*released, stream.finish().text], stream.stopped


def read(pieces: list[bytes], stops: tuple[str, ...] = (), keep_stop: bool = False) -> str:
    return "".join(stream_of(pieces, stops, keep_stop)[0])


def bytewise(text: str) -> list[bytes]:
    return [bytes([byte]) for byte in text.encode()]


@settings(max_examples=150, deadline=None)
@given(texts_and_stops(), st.booleans())
@example(("é日ab", ("é日ab", "日a")), True)
def test_the_text_is_cut_at_the_first_complete_stop_wherever_the_tokens_split(text_and_stops, keep_stop):
    text, stops = text_and_stops
    data = text.encode()
    expected = cut(text, stops, keep_stop)
    assert read(bytewise(text), stops, keep_stop) == expected
    for boundary in range(len(data) + 1):
        assert read([data[:boundary], data[boundary:]], stops, keep_stop) == expected


@settings(max_examples=150, deadline=None)
@given(texts_and_stops())
def test_no_release_ever_runs_past_the_cut(text_and_stops):
    text, stops = text_and_stops
    released, stopped = stream_of(bytewise(text), stops)
    expected = cut(text, stops)
    so_far = ""
    for piece in released:
        so_far += piece
        assert expected.startswith(so_far)
    assert stopped == any(stop and stop in text for stop in stops)


@settings(max_examples=100, deadline=None)
@given(text=ANY_TEXT)
def test_every_release_is_whole_characters(text):
    released, _ = stream_of(bytewise(text))
    assert "".join(released) == text
    assert "\ufffd" not in "".join(released)


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=12).filter(lambda data: "\ufffd" not in data.decode("utf-8", "ignore")))
def test_bytes_that_are_no_utf8_are_dropped_and_never_replaced(data):
    expected = data.decode("utf-8", "ignore")
    for boundary in range(len(data) + 1):
        assert read([data[:boundary], data[boundary:]]) == expected


def test_text_flows_at_once_when_no_stop_can_begin_in_it():
    assert TokenStream(("###",)).push(b"Well met").text == "Well met"


def test_only_what_may_begin_a_stop_is_held_back():
    stream = TokenStream(("###",))
    assert stream.push(b"Well met ##").text == "Well met "
    assert stream.push(b"!").text == "##!"


def test_a_beginning_that_came_to_nothing_is_released_at_the_end():
    stream = TokenStream(("\nPlayer:",))
    assert stream.push(b"Farewell.\nPlay").text == "Farewell."
    assert stream.finish().text == "\nPlay"


def test_nothing_is_released_after_a_stop():
    stream = TokenStream(("###",))
    assert stream.push(b"a### b").text == "a"
    assert stream.stopped
    assert stream.finish().text == ""


def test_half_a_character_at_the_end_is_dropped():
    stream = TokenStream()
    assert stream.push("é🙂".encode()[:-1]).text == "é"
    assert stream.finish().text == ""


def test_keep_stop_releases_the_stop_and_nothing_after_it():
    assert read([b"Hi. ", b"##", b"# more"], ("###",), keep_stop=True) == "Hi. ###"


@pytest.mark.parametrize("stops", [("",), ("", ""), ()])
def test_empty_stops_stop_nothing(stops):
    assert read([b"a", b"b"], stops) == "ab"


@pytest.mark.parametrize("stops", [("ab", "abc"), ("abc", "ab")])
def test_of_two_stops_that_begin_together_the_shorter_one_counts(stops):
    assert read([b"xabc"], stops, keep_stop=True) == "xab"
    assert read([b"xa", b"bc"], stops, keep_stop=True) == "xab"


@pytest.mark.parametrize("pieces", [[b"xabcd"], [b"xabc", b"d"], [b"x", b"a", b"b", b"c", b"d"]])
def test_the_stop_that_is_complete_first_counts_however_the_tokens_split(pieces):
    assert read(pieces, ("abcd", "bc")) == "xa"


@pytest.mark.parametrize("pieces", [[b"xabc"], [b"xab", b"c"]])
def test_of_two_stops_that_end_together_the_one_that_began_first_counts(pieces):
    assert read(pieces, ("bc", "abc")) == "x"


def test_a_stop_may_repeat_its_own_beginning():
    assert read(bytewise("aaab!"), ("aab",)) == "a"
