"""Grammars in GBNF that llama.cpp would hang or crash on: found before it sees them.

llama.cpp refuses a rule that begins with itself, but looks for it along every path through the grammar, whose number
doubles with each ``a ::= b | b``, and overlooks one behind a part that may be empty and is not written so; the stacks
of such a rule grow without end, and double with each ``a ::= b b`` when ``b`` may be empty. It recurses for each
parenthesis and for each rule that begins with another one, and counts down from 3 to 1 forever in ``{3,1}``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

DEEPEST = 200  # parentheses in parentheses
LONGEST_CHAIN = 2000  # rules that begin with one another
MOST_PATHS = 10_000_000  # llama.cpp takes 100 ms for them
MOST_STACKS = 20_000  # it keeps each of them
MOST_REPEATS = 200_000  # it writes out each x{n}
UNBOUNDED = 2000  # beyond that, llama.cpp takes any number for none

TOKEN = re.compile(
    r"(?P<blank>\s+|\#[^\r\n]*)|(?P<define>::=)|(?P<name>[a-zA-Z0-9-]+)|(?P<empty>\"\"|\[\])"
    r'|(?P<text>"(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]|!?<[^>]*>|\.)'
    r"|(?P<braces>\{\s*[0-9]+\s*(?:,\s*[0-9]*\s*)?\})|(?P<sign>[*+?()|])",
    re.DOTALL,
)


@dataclass
class Part:
    """One part of an alternative: a rule's name, or "" for text. ``repeated``: it may come again right after itself."""

    rule: str
    optional: bool = False
    repeated: bool = False
    endless: bool = False
    times: int = 1


Alternative = list[Part]
Graph = dict[str, list[str]]


class _NotUnderstood(Exception):
    """No GBNF; llama.cpp says better what is wrong with it."""


@dataclass
class Grammar:
    """The rules of a grammar; those that stand for its groups have names that no other rule can have.

    ``repeats`` is how many parts its braces write out, ``backwards`` a repetition such as {3,1}, if there is one.
    """

    rules: dict[str, list[Alternative]] = field(default_factory=dict)
    repeats: int = 0
    backwards: str = ""


def danger(text: str) -> str:
    """Why llama.cpp must not be given a grammar, as a sentence, or ""."""
    if "\0" in text:
        return "The grammar contains a NUL character."
    if _depth(text) > DEEPEST:
        return f"The grammar's parentheses are nested deeper than {DEEPEST} levels."
    try:
        grammar = read(text)
    except _NotUnderstood:
        return ""
    if grammar.backwards:
        return f"The grammar's repetition {grammar.backwards} ends before it begins."
    if grammar.repeats > MOST_REPEATS:
        return "The grammar is too large: it repeats too much."
    return _recursion(grammar)


def lacks(text: str, rule: str) -> bool:
    """Whether a grammar can be read and does not define a rule."""
    try:
        return rule not in read(text).rules
    except _NotUnderstood:
        return False


def read(text: str) -> Grammar:
    """The rules of a grammar, as far as they matter here. Raises :class:`_NotUnderstood`."""
    grammar = Grammar()
    tokens = [*_tokens(text), None]
    opened: list[list[Alternative]] = []
    current: list[Alternative] | None = None
    for token, following in pairwise(tokens):
        assert token
        kind = token.lastgroup
        if kind == "name" and following and following.lastgroup == "define":
            if opened:
                raise _NotUnderstood
            current = grammar.rules[token[0]] = [[]]
        elif current is None:
            raise _NotUnderstood
        elif kind in ("name", "text"):
            current[-1].append(Part(token[0] if kind == "name" else ""))
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
    return grammar


def _tokens(text: str) -> Iterator[re.Match[str]]:
    position = 0
    while position < len(text):
        token = TOKEN.match(text, position)
        if not token:
            raise _NotUnderstood
        position = token.end()
        if token.lastgroup != "blank":
            yield token


def _repeat(grammar: Grammar, alternative: Alternative, token: re.Match[str]) -> None:
    """Apply ``*``, ``+``, ``?`` or braces to the last part."""
    if not alternative:
        raise _NotUnderstood
    braces = token["braces"]
    if braces:
        least_text, comma, most_text = (part.strip() for part in braces.strip("{}").partition(","))
        least = int(least_text[:9])
        most = int(most_text[:9]) if most_text else None if comma else least
        if most is not None and most > UNBOUNDED:
            most = None
    else:
        least, most = {"*": (0, None), "+": (1, None), "?": (0, 1)}[token[0]]
    if most is not None and most < least:
        grammar.backwards = token[0]
    written = max(least, most or 0, 1)
    grammar.repeats += written if written > 1 else 0
    if most == 0:
        alternative.pop()
        return
    part = alternative[-1]
    part.optional = part.optional or least == 0
    part.endless = part.endless or most is None
    part.repeated = part.repeated or most is None or most > 1
    part.times *= written


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
