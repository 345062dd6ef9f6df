"""Prompts of a wanted length that no server has seen before: seeded words. Used by the scenarios.

Every word is one token in the starter model's vocabulary, and common enough to be one in most others.
"""

from __future__ import annotations

import random

WORDS = """
    about after again air along always among another answer around arrow ask away back bear because bell below best
    between bird black blue boat body book bread bridge bright bring brother build burn call candle carry castle cat
    child city clear climb close cloud coin cold come corn count cross dark daughter day deep deer door down dream
    drink dust each early earth east empty enough even evening every eye face fall family far farm father field find
    fire fish five floor flower fly follow food forest four free friend full garden gate gave gold good grass great
    green ground guard hand hard head hear heart heavy high hill hold home horse house hundred ice iron island keep
    king kitchen know lake lamp land large last late law leaf learn leave left letter light line listen little long
    look lord lost low make many market master meet metal middle milk mind moon morning most mother mountain mouth
    move music name near never new night north offer often old open other over own paper path people place plain plant
    poor queen quick quiet rain reach read red rest return rich ride right ring rise river road rock roof room rope
    round salt sand say sea search second see seed seven shade sheep ship shoe shore short silver sing sister sit sky
    sleep slow small smoke snow soft soldier some song soon south spring stand star stay steel step still stone store
    storm story strange stream street strong summer sun sweet sword table tail take talk tall teach tell ten thick
    thin third thousand three throw time tower town tree true turn under until valley village voice wait walk wall
    warm watch water way weather week well west wheel white wide wild wind window wine winter wise wolf woman wonder
    wood word work world write year yellow young
"""
SENTENCE = 12  # tokens, the last of which is the full stop
TURN = 24


def prose(seed: str, tokens: int) -> str:
    """About ``tokens`` tokens of sentences; another seed has another text from its first words on."""
    rng, known = random.Random(seed), WORDS.split()
    words = (f" {rng.choice(known)}" if place % SENTENCE else "." for place in range(1, tokens + 1))
    return "".join(words).lstrip()


def turn(seed: str) -> str:
    """What the player says next, and the beginning of the answer: 24 tokens, and some for the names."""
    return f"\n\nPlayer: {prose(seed, TURN)}\n\nGuard:"
