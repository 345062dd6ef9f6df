"""How long a reply may think, and the tokens that end its thinking in the model's place."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from server.engine.token_stream import TokenStream
from server.events import Thinking


class ThinkingLimit:
    """The budget of one reply, over all its thoughts; ``tokenize`` turns text into tokens, tags into special ones.

    ``used`` is how many tokens were thought.
    """

    def __init__(self, thinking: Thinking, stream: TokenStream, tokenize: Callable[[str], list[int]]) -> None:
        self._thinking = thinking
        self._stream = stream
        self._tokenize = tokenize
        self.used = 0
        self._forced: deque[int] = deque()
        self._closing = False
        tags = (tokenize(start) for start, _ in thinking.tags)
        self._openings = frozenset(tag[0] for tag in tags if len(tag) == 1)

    @property
    def openings(self) -> frozenset[int]:
        """Tokens that may open a thought now, whatever the reply must look like: before its first word only."""
        if self._stream.thinking or self._stream.spoken or self._spent:
            return frozenset()
        return self._openings

    @property
    def closing(self) -> bool:
        """Whether a thought is being ended in the model's place."""
        return self._closing

    def next_token(self) -> int | None:
        """The token that comes next in place of a drawn one, or None while the model goes on by itself."""
        if self._stream.thinking and self._spent and not self._closing:
            # Only once for each thought: what does not end it now never will.
            self._closing = True
            self._forced.extend(self._tokenize(self._closing_text()))
        return self._forced.popleft() if self._forced else None

    def count(self) -> None:
        """To be called with each token, before the stream has seen it."""
        if self._stream.thinking:
            self.used += 1
        else:
            self._closing = False

    @property
    def _spent(self) -> bool:
        return 0 <= self._thinking.budget <= self.used

    def _closing_text(self) -> str:
        tag = self._stream.closing_tag
        # Tags of other families are told apart as well, and the closing text of one does not end another's thought.
        return self._thinking.closing if tag in self._thinking.closing else f"\n{tag}\n\n"
