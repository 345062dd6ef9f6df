"""docs/choosing.md tells the truth: its tables are what the forecast of memory says."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from server.loading import load_command
from server.model import fit
from server.settings import Settings
from server.snapshot import Device, DeviceKind, Forecast, LayerShape, ModelFile, ModelShape

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "choosing.md"
BEGINNERS = ROOT / "docs" / "getting-started.md"
GB, GIB = 10**9, 2**30
Q4_K, Q6_K = 144 / 256, 210 / 256  # bytes of a weight: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
CARDS = (6, 8, 10, 12, 16, 24)  # GiB, as they are sold
DESKTOP = 1 * GB  # what Windows and the programs on the desktop hold, as the page assumes
GAMES = (0, 3, 6)  # GB
CONTEXTS = (8192, 16384, 32768)
PRECISIONS = (0, 1)  # quantkv: f16, q8_0
CARD_SPEED, RAM_SPEED = 360 * GB, 51.2 * GB  # bytes a second: an RTX 3060, and two modules of DDR4-3200


@dataclass(frozen=True)
class Shape:
    """The sizes in a model's own ``config.json`` on huggingface.co; all have 8 heads of keys and values, 128 wide."""

    catalogue: str  # its name in presets/models.json
    layers: int
    width: int
    feed_forward: int
    heads: int
    vocabulary: int
    tied: bool = False


SHAPES = (
    Shape("Llama 3.2 3B Instruct", 28, 3072, 8192, 24, 128256, tied=True),
    Shape("Llama 3.1 8B Instruct", 32, 4096, 14336, 32, 128256),
    Shape("Mistral Nemo 12B Instruct", 40, 5120, 14336, 32, 131072),
    Shape("Qwen2.5 14B Instruct", 48, 5120, 13824, 40, 152064),
    Shape("Mistral Small 24B Instruct", 40, 5120, 32768, 32, 131072),
)
CATALOGUE = json.loads((ROOT / "presets/models.json").read_text())["models"]
SIZES = {entry["name"]: entry["size"] for entry in CATALOGUE}
GOOD_FOR = {entry["name"]: entry["good_for"] for entry in CATALOGUE}


def file_of(shape: Shape) -> ModelFile:
    """The model as Q4_K_M: the output's weights as Q6_K, the embeddings' as Q4_K, the layers share the rest."""
    size = SIZES[shape.catalogue]
    outputs = int(shape.vocabulary * shape.width * Q6_K)
    inputs = outputs if shape.tied else int(shape.vocabulary * shape.width * Q4_K)
    layers = size - inputs - (0 if shape.tied else outputs)
    layer = LayerShape(layers // shape.layers, keys=8 * 128, values=8 * 128)
    model = ModelShape(
        layers=(layer,) * shape.layers,
        inputs=inputs,
        outputs=0 if shape.tied else outputs,
        tied=shape.tied,
        width=shape.width,
        feed_forward=shape.feed_forward,
        queries=shape.heads * 128,
        heads=shape.heads,
        vocabulary=shape.vocabulary,
    )
    return ModelFile("model.gguf", size, "llama", shape.catalogue, "Q4_K_M", shape.layers, 0, "", shape=model)


def forecast(shape: Shape, card: int, game: int, context: int, precision: int) -> Forecast:
    settings = Settings(model="model.gguf", contextsize=context, quantkv=precision, reservevram=float(game))
    free = max(card * GIB - DESKTOP, 0)
    device = Device("CUDA0", "A card", DeviceKind.GPU, card * GIB, free)
    return fit.forecast(file_of(shape), load_command(settings), [device])


def on_the_gpu(shape: Shape, card: int, game: int, context: int, precision: int) -> tuple[int, int]:
    """The layers that fit, and all there are."""
    return forecast(shape, card, game, context, precision).gpu_layers, shape.layers + 1


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"|{'|'.join(f' {cell} ' if cell != '---' else cell for cell in line)}|" for line in lines)


def named(shape: Shape) -> str:
    return shape.catalogue.removesuffix(" Instruct")


def memory_table() -> str:
    """What each model takes on a GPU that has room for all of it."""
    columns = [(context, precision) for context in CONTEXTS for precision in PRECISIONS]
    names = [f"{context // 1024}k, {'q8' if precision else 'f16'}" for context, precision in columns]
    rows = []
    for shape in SHAPES:
        shares = [forecast(shape, 999, 0, *column).pools[0].share.all for column in columns]
        rows.append([named(shape), *(f"{share / GB:.1f}" for share in shares)])
    return table(["GB on the card", *names], rows)


def layers_table(game: int) -> str:
    """How many layers go to each card, with a KV cache of f16 and of q8_0, beside a game."""
    rows = []
    for shape in SHAPES:
        for context in CONTEXTS:
            cells = []
            for card in CARDS:
                counts = [on_the_gpu(shape, card, game, context, precision) for precision in PRECISIONS]
                words = ["all" if some == whole else str(some) for some, whole in counts]
                cells.append(words[0] if words[0] == words[1] else " / ".join(words))
            rows.append([f"{named(shape)} ({shape.layers + 1})", f"{context // 1024}k", *cells])
    return table(["model (its layers)", "context", *(f"{card} GB" for card in CARDS)], rows)


def largest(card: int, game: int) -> str:
    """The largest of the models that is wholly on the card with a cache of q8_0, and the largest context it has so."""
    fitting = [
        f"{named(shape)}, {context // 1024}k"
        for shape in SHAPES
        for context in CONTEXTS
        if len(set(on_the_gpu(shape, card, game, context, 1))) == 1
    ]
    return fitting[-1] if fitting else "none"


def first_choice_table() -> str:
    rows = [[f"{card} GB", *(largest(card, game) for game in GAMES)] for card in CARDS]
    return table(["card", "no game", *(f"a game that takes {game} GB" for game in GAMES[1:])], rows)


def beginners_table() -> str:
    """The column of a game that takes 3 GB, where a model fits, without the contexts."""
    models = {f"{card} GB": largest(card, 3).partition(",")[0] for card in CARDS}
    fitting = {card: model for card, model in models.items() if model != "none"}
    return table(["card", *fitting], [["beside a game that takes 3 GB", *fitting.values()]])


def speed_table() -> str:
    """Tokens a second at best: each token needs all weights once, from where they lie."""
    rows = []
    for name, share in (("Llama 3.1 8B", 1.0), ("Mistral Nemo 12B", 1.0), ("Mistral Nemo 12B", 0.5)):
        size = SIZES[f"{name} Instruct"]
        seconds = size * share / CARD_SPEED + size * (1 - share) / RAM_SPEED
        rows.append([name, "all" if share == 1 else "half", f"{1 / seconds:.0f}"])
    return table(["model", "on the card", "tokens/s at best"], rows)


TABLES = {
    "first choice": first_choice_table,
    "memory": memory_table,
    "layers beside 3 GB": lambda: layers_table(3),
    "layers beside 6 GB": lambda: layers_table(6),
    "speed": speed_table,
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_says_what_the_forecast_says(name: str) -> None:
    right = TABLES[name]()
    assert right in PAGE.read_text("utf-8"), f"docs/choosing.md should have\n{right}"


def test_the_first_guide_names_the_same_models() -> None:
    right = beginners_table()
    assert right in BEGINNERS.read_text("utf-8"), f"docs/getting-started.md should have\n{right}"


def test_no_model_is_said_to_be_for_a_card_on_which_it_does_not_fit() -> None:
    """Beside no game, with a context of 8k; what is named with a game, beside one of 3 GB."""
    for shape in SHAPES:
        for card in map(int, re.findall(r"a card with (\d+) GB", GOOD_FOR[shape.catalogue])):
            game = 3 if "beside a game" in GOOD_FOR[shape.catalogue] else 0
            assert len(set(on_the_gpu(shape, card, game, 8192, 1))) == 1, shape.catalogue


def test_the_shapes_hold_as_many_parameters_as_their_names_say() -> None:
    """A wrong number in a shape would show: Q4_K_M takes 4.5 to 5.2 bits for each parameter."""
    for shape in SHAPES:
        attention = 2 * shape.width * (shape.heads + 8) * 128
        layers = shape.layers * (attention + 3 * shape.width * shape.feed_forward)
        parameters = layers + (1 if shape.tied else 2) * shape.vocabulary * shape.width
        assert 4.5 < 8 * SIZES[shape.catalogue] / parameters < 5.2, shape.catalogue
