"""Grammars in GBNF that llama.cpp would hang or crash on: found before it sees them.

llama.cpp refuses a rule that begins with itself, but looks for it along every path through the grammar, whose number
doubles with each ``a ::= b | b``, and overlooks one behind a part that may be empty and is not written so; the stacks
of such a rule grow without end, and double with each ``a ::= b b`` when ``b`` may be empty. It recurses for each
parenthesis and for each rule that begins with another one, counts down from 3 to 1 forever in ``{3,1}``, also where
something behind it cannot be read, and writes a text of 100,000 letters out 2,000 times. For each token it tries every
part of a row of parts that may be empty, and then every row of the rest for the token's next letter. It allows what it
then ends the process for, where a token named in the grammar may come behind text (``[a-z] !<think>``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise

DEEPEST = 200  # parentheses in parentheses
LONGEST_CHAIN = 2000  # rules that begin with one another
MOST_PATHS = 10_000_000  # llama.cpp takes 100 ms for them
MOST_STACKS = 20_000  # it keeps each of them
MOST_REPEATS = 200_000  # it writes out each x{n}
MOST_WRITTEN = 4_000_000  # letters of what it writes out; each takes 8 bytes, more than once
LONGEST_ROW = 200  # parts that may be empty, one after the other
SHOWN = 40  # characters of a grammar in a sentence
MOST_ALTERNATIVES = 10_000  # of one rule; each is a stack, and is compared with all others
UNBOUNDED = 2000  # beyond that, llama.cpp takes any number for none

TOKEN = re.compile(
    r"(?P<blank>\s+|\#[^\r\n]*)|(?P<define>::=)|(?P<name>[a-zA-Z0-9-]+)|(?P<empty>\"\"|\[\^?\])"
    r'|(?P<text>"(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]|\.)|(?P<token>!?<[^>]*>)'
    r"|(?P<braces>\{~[0-9]+~(?:,~[0-9]*~)?\})|(?P<sign>[*+?()|])".replace("~", r"(?:\s|\#[^\r\n]*)*"),
    re.DOTALL,
)
COMMENT = re.compile(r"\#[^\r\n]*")


@dataclass
class Part:
    """One part of an alternative: a rule's name, or "" for text of so many ``letters``. ``repeated``: it may come again
    right after itself."""

    rule: str
    letters: int = 1
    optional: bool = False
    repeated: bool = False
    endless: bool = False
    times: int = 1


Alternative = list[Part]
Graph = dict[str, list[str]]


class _NotUnderstood(Exception):
    """No GBNF from here on; llama.cpp says better what is wrong with it."""


@dataclass
class Grammar:
    """The rules of a grammar; those that stand for its groups have names that no other rule can have.

    ``repeats`` is how many parts its braces write out, ``written`` how many letters that are. ``backwards`` is a
    repetition such as {3,1}, ``token`` an element such as <think>, if there is one. What is not ``complete`` ends where
    llama.cpp finds an error.
    """

    rules: dict[str, list[Alternative]] = field(default_factory=dict)
    repeats: int = 0
    written: int = 0
    backwards: str = ""
    token: str = ""
    complete: bool = True


def danger(text: str) -> str:
    """Why llama.cpp must not be given a grammar, as a sentence, or ""."""
    if "\0" in text:
        return "The grammar contains a NUL character."
    if _depth(text) > DEEPEST:
        return f"The grammar's parentheses are nested deeper than {DEEPEST} levels."
    grammar = read(text)
    if grammar.backwards:
        return f"The grammar's repetition {' '.join(grammar.backwards.split())} ends before it begins."
    if grammar.repeats > MOST_REPEATS or grammar.written > MOST_WRITTEN:
        return "The grammar is too large: it repeats too much."
    if not grammar.complete:
        return ""
    if grammar.token:
        shown = " ".join(grammar.token.split())[:SHOWN]
        return f"The grammar names a token, {shown}, which is not supported here: write its text in quotes."
    return _recursion(grammar) or _breadth(grammar)


def lacks(text: str, rule: str) -> bool:
    """Whether a grammar can be read and does not define a rule."""
    grammar = read(text)
    return grammar.complete and rule not in grammar.rules


def read(text: str) -> Grammar:
    """The rules of a grammar, as far as they matter here."""
    grammar = Grammar()
    try:
        _read(grammar, text)
    except _NotUnderstood:
        grammar.complete = False
    return grammar


def _read(grammar: Grammar, text: str) -> None:
    """Fill a grammar. Raises :class:`_NotUnderstood` where the text cannot be read any further."""
    tokens, end = _tokens(text)
    opened: list[list[Alternative]] = []
    current: list[Alternative] | None = None
    for token, following in pairwise((*tokens, None)):
        assert token
        kind = token.lastgroup
        if kind == "name" and following and following.lastgroup == "define":
            if opened:
                raise _NotUnderstood
            current = grammar.rules[token[0]] = [[]]
        elif current is None:
            raise _NotUnderstood
        elif kind in ("name", "text", "token"):
            grammar.token = token[0] if kind == "token" else grammar.token
            current[-1].append(Part(token[0]) if kind == "name" else Part("", len(token[0])))
        elif token[0] == "(":
            name = f"({token.start()}"
            current[-1].append(Part(name))
            opened.append(current)
            current = grammar.rules[name] = [[]]
        elif token[0] == ")":
            if not opened:
                raise _NotUnderstood
            current = opened.pop()
        elif token[0] == "|":
            current.append([])
        elif kind in ("sign", "braces"):
            _repeat(grammar, current[-1], token)
    if end < len(text):
        raise _NotUnderstood


def _tokens(text: str) -> tuple[list[re.Match[str]], int]:
    """The tokens of a text, and how far it can be read."""
    tokens: list[re.Match[str]] = []
    position = 0
    while token := TOKEN.match(text, position):
        position = token.end()
        if token.lastgroup != "blank":
            tokens.append(token)
    return tokens, position


def _repeat(grammar: Grammar, alternative: Alternative, token: re.Match[str]) -> None:
    """Apply ``*``, ``+``, ``?`` or braces to the last part."""
    if not alternative:
        raise _NotUnderstood
    braces = token["braces"]
    if braces:
        least_text, comma, most_text = (part.strip() for part in COMMENT.sub("", braces).strip("{}").partition(","))
        least = _number(least_text)
        most = _number(most_text) if most_text else None if comma else least
        if most is not None and most > UNBOUNDED:
            most = None
    else:
        least, most = {"*": (0, None), "+": (1, None), "?": (0, 1)}[token[0]]
    if most is not None and most < least:
        grammar.backwards = COMMENT.sub("", token[0])
    written = max(least, most or 0, 1)
    part = alternative[-1]
    grammar.repeats += written if written > 1 else 0
    grammar.written += written * part.letters
    if most == 0:
        alternative.pop()
        return
    part.optional = part.optional or least == 0
    part.endless = part.endless or most is None
    part.repeated = part.repeated or most is None or most > 1
    part.times *= written


def _number(digits: str) -> int:
    """A number, or another one that is too large as well."""
    return int(digits.lstrip("0")[:9] or 0)


def _breadth(grammar: Grammar) -> str:
    """What is wrong with how many ways there are at one place."""
    for name, alternatives in grammar.rules.items():
        if len(alternatives) > MOST_ALTERNATIVES:
            return f"The grammar is too complex: {_title(name)} has more than {MOST_ALTERNATIVES:,} alternatives."
        for alternative in alternatives:
            row = 0
            for part in alternative:
                row = row + 1 if part.optional else 0
                if row > LONGEST_ROW:
                    return f"The grammar is too complex: {_title(name)} has too many parts in a row that may be empty."
    return ""


def _recursion(grammar: Grammar) -> str:
    """What is wrong with the way the rules begin with one another."""
    written_empty = {name for name, alternatives in grammar.rules.items() if [] in alternatives}
    searched = _beginnings(grammar, written_empty)  # as llama.cpp searches for rules that begin with themselves
    for name, parts in searched.items():
        if any(part.endless and part.rule in written_empty for part, _last in parts):
            return f"The grammar repeats what may be empty without an end, in {_title(name)}."
    paths: dict[str, int] = {}
    chain: dict[str, int] = {}
    for group in _cycles({name: [part.rule for part, _last in parts] for name, parts in searched.items()}):
        name = group[0]
        parts = searched[name]
        if len(group) > 1 or any(part.rule == name for part, _last in parts):
            return f"The grammar is left-recursive: {_title(name)} can begin with itself, which llama.cpp cannot read."
        paths[name] = 1 + sum(part.times * paths[part.rule] for part, _last in parts)
        chain[name] = 1 + max((chain[part.rule] for part, _last in parts), default=0)
    if max(paths.values(), default=0) > MOST_PATHS or max(chain.values(), default=0) > LONGEST_CHAIN:
        return "The grammar is too complex: too many of its rules begin with other rules."
    empty = _may_be_empty(grammar)
    followed = _beginnings(grammar, empty)  # as its stacks follow them
    paths = {}
    for group in _cycles({name: [part.rule for part, _last in parts] for name, parts in followed.items()}):
        members = set(group)
        for name in group:
            if any(part.rule in members and (part.repeated or not last) for part, last in followed[name]):
                return f"The grammar is left-recursive: {_title(name)} can begin with itself behind what may be empty."
            ways = ((part.times if part.rule in empty else 1, part.rule) for part, _last in followed[name])
            paths[name] = 1 + sum(times * paths.get(rule, 0) for times, rule in ways)
    if max(paths.values(), default=0) > MOST_STACKS:
        return "The grammar is too complex: too many parts of it may be empty one after the other."
    return ""


def _title(name: str) -> str:
    return f"the group at character {int(name[1:]) + 1}" if name.startswith("(") else f"the rule {name}"


def _beginnings(grammar: Grammar, empty: set[str]) -> dict[str, list[tuple[Part, bool]]]:
    """For each rule the rules that it can begin with, if those of ``empty`` add nothing; True: as the last part."""
    found: dict[str, list[tuple[Part, bool]]] = {name: [] for name in grammar.rules}
    for name, alternatives in grammar.rules.items():
        for alternative in alternatives:
            for index, part in enumerate(alternative):
                if part.rule in grammar.rules:
                    found[name].append((part, index == len(alternative) - 1))
                if not part.optional and part.rule not in empty:
                    break
    return found


def _may_be_empty(grammar: Grammar) -> set[str]:
    """The rules that can add nothing to a reply."""
    empty: set[str] = set()
    users: dict[str, set[str]] = {name: set() for name in grammar.rules}
    for name, alternatives in grammar.rules.items():
        for alternative in alternatives:
            for part in alternative:
                users.get(part.rule, set()).add(name)
    changed = set(grammar.rules)
    while changed:
        name = changed.pop()
        if name not in empty and any(
            all(part.optional or part.rule in empty for part in alternative) for alternative in grammar.rules[name]
        ):
            empty.add(name)
            changed |= users[name]
    return empty


def _cycles(graph: Graph) -> list[list[str]]:
    """Groups of rules that lead to one another, those that are led to first (Tarjan's algorithm, without recursion)."""
    groups: list[list[str]] = []
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []
    waiting: set[str] = set()
    for start in graph:
        if start in number:
            continue
        work = [(start, iter(graph[start]))]
        number[start] = lowest[start] = len(number)
        path.append(start)
        waiting.add(start)
        while work:
            name, following = work[-1]
            for other in following:
                if other not in number:
                    number[other] = lowest[other] = len(number)
                    path.append(other)
                    waiting.add(other)
                    work.append((other, iter(graph[other])))
                    break
                if other in waiting:
                    lowest[name] = min(lowest[name], number[other])
            else:
                work.pop()
                if work:
                    lowest[work[-1][0]] = min(lowest[work[-1][0]], lowest[name])
                if lowest[name] == number[name]:
                    groups.append([])
                    while not groups[-1] or groups[-1][-1] != name:
                        groups[-1].append(path.pop())
                        waiting.discard(groups[-1][-1])
    return groups


def _depth(text: str) -> int:
    """How deep the parentheses of a grammar are nested, at most."""
    level = deepest = 0
    for character in text:
        level += (character == "(") - (character == ")")
        deepest = max(deepest, level)
    return deepest
