"""``python -m server.engine.self_test MODEL.gguf``: does the native library work on this machine?

``bootstrap.py`` runs it in a child process after a build, because what can go wrong here crashes the process. Prints
one line of JSON and exits with 0, or one sentence on standard error and 1.
"""

from __future__ import annotations

import json
import sys

from server.engine.engine import Engine
from server.errors import TavernkeepError
from server.events import Generate, LoadModel, Sampling, TextPiece

REPLY_TOKENS = 8


def main(path: str) -> int:
    """Load the model and let it say a few words. Returns the exit status."""
    from server.engine.llama.library import NativeLog
    from server.engine.llama.model import LlamaModel

    spec = LoadModel(path, context=512, gpu_layers=0, threads=1, batch=64, sequences=1)
    try:
        model = LlamaModel(spec, NativeLog(), lambda _: None)
    except TavernkeepError as error:
        print(error, file=sys.stderr)
        return 1
    engine = Engine(model)
    prompt = tuple(model.vocabulary.tokenize("The capital of France is", special=True))
    events = engine.submit(Generate(1, prompt, REPLY_TOKENS, sampling=Sampling(temperature=0)))
    while not engine.idle:
        events += engine.step()
    text = "".join(event.text for event in events if isinstance(event, TextPiece))
    if not text:
        print("llama.cpp runs but generates nothing.", file=sys.stderr)
        return 1
    print(json.dumps({"ok": True, "cpu_variant": model.info.cpu_variant, "devices": model.info.devices, "text": text}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
