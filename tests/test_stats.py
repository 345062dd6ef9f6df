"""Tokens per second over the last second."""

from server.engine.stats import WINDOW_SECONDS, SpeedMeter


def meter(*steps: tuple[float, float, int, int]) -> SpeedMeter:
    made = SpeedMeter()
    for step in steps:
        made.record(*step)
    return made


def test_no_steps_mean_no_speed():
    assert meter().decode_speed(5.0) == 0
    assert meter().prompt_speed(5.0) == 0


def test_replies_of_all_sequences_count_together():
    assert meter((1.0, 0.1, 0, 4), (1.1, 0.1, 0, 4)).decode_speed(1.2) == 40


def test_prompt_and_reply_speed_are_apart():
    both = meter((1.0, 0.5, 100, 0), (1.1, 0.1, 0, 2))
    assert both.prompt_speed(1.2) == 200
    assert both.decode_speed(1.2) == 20


def test_waiting_between_steps_does_not_count():
    assert meter((1.0, 0.1, 0, 1), (1.9, 0.1, 0, 1)).decode_speed(1.9) == 10


def test_steps_older_than_the_window_are_forgotten():
    old_and_new = meter((1.0, 0.1, 0, 100), (2.0 + WINDOW_SECONDS, 0.1, 0, 1))
    assert old_and_new.decode_speed(2.1 + WINDOW_SECONDS) == 10


def test_all_steps_can_be_too_old():
    assert meter((1.0, 0.1, 5, 5)).decode_speed(10.0) == 0


def test_a_step_that_took_no_measurable_time_is_no_error():
    assert meter((1.0, 0.0, 5, 5)).decode_speed(1.0) == 0
