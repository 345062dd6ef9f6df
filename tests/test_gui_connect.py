"""The connect page's words, decided without a display."""

from gui.view.connect import EXAMPLE_ADDRESS, LONGEST_REPLY, Outcome, connect_view
from gui.view.looks import Tone
from server.events import EngineState
from server.snapshot import ClientGuide, Snapshot, Trial

GUIDE = ClientGuide("mantella", "Mantella", "There:", (("URL", "{address}/v1"),), ())
READY = Snapshot(EngineState.READY, address="http://127.0.0.1:5009")


def test_before_the_start_the_usual_address_stands_there_and_nothing_can_be_tried():
    view = connect_view(GUIDE, Snapshot(), Outcome())
    assert view.fields == (("URL", f"{EXAMPLE_ADDRESS}/v1"),)
    assert not view.test.enabled
    assert "launch page" in view.hint


def test_a_try_that_runs_cannot_be_started_twice():
    view = connect_view(GUIDE, READY, Outcome(running=True))
    assert (view.test.text, view.test.enabled) == ("Asking…", False)
    assert view.fields == (("URL", "http://127.0.0.1:5009/v1"),)


def test_a_long_reply_with_many_lines_is_shown_in_a_few():
    view = connect_view(GUIDE, READY, Outcome(trial=Trial("Well\n\nmet. " * 500, 1.5, 0.0)))
    assert view.reply.startswith("Well met. Well met.")
    assert len(view.reply) <= LONGEST_REPLY + 1
    assert view.reply.endswith("…")
    assert view.figures == "It works · first words after 1.50 s"


def test_what_went_wrong_is_told_in_red():
    view = connect_view(GUIDE, READY, Outcome(problem="The reply was empty."))
    assert (view.figures, view.reply, view.tone) == ("It did not work", "The reply was empty.", Tone.BAD)


def test_only_mantellas_file_is_written():
    assert connect_view(GUIDE, READY, Outcome()).writes_config
    assert not connect_view(ClientGuide("chim", "", "", (), ()), READY, Outcome()).writes_config
