"""The program's icons: they are those that the script draws, in all sizes."""

import pytest
from PIL import Image, ImageChops

from assets.draw_icons import FOLDER, MAC_SIZES, SIZES, STATES, WINDOWS_SIZES, draw
from gui.view.looks import Tone


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("icons")
    draw(folder)
    return folder


def picture(file):
    with Image.open(file) as image:
        return image.convert("RGBA")


def test_every_icon_is_as_the_script_draws_it(drawn):
    assert {file.name for file in drawn.iterdir()} == {file.name for file in FOLDER.iterdir()}
    for file in drawn.glob("*.png"):
        fresh, kept = picture(file), picture(FOLDER / file.name)
        # Another version of Pillow may round otherwise.
        assert max(highest for _, highest in ImageChops.difference(fresh, kept).getextrema()) <= 2, file.name


@pytest.mark.parametrize("size", SIZES)
def test_an_icon_has_its_size(size):
    assert picture(FOLDER / f"tavernkeep-{size}.png").size == (size, size)


def test_windows_gets_all_its_sizes_in_one_file():
    with Image.open(FOLDER / "tavernkeep.ico") as icon:
        assert icon.info["sizes"] == {(size, size) for size in WINDOWS_SIZES}


def test_macos_gets_all_its_sizes_in_one_file():
    with Image.open(FOLDER / "tavernkeep.icns") as icon:
        pixels = {width * factor for width, _height, factor in icon.info["sizes"]}
    assert pixels == set(MAC_SIZES)


def test_every_state_of_the_window_has_a_colour_in_the_tray():
    assert set(STATES) == {tone.value for tone in Tone}
    pictures = {picture(FOLDER / f"tavernkeep-tray-{state}.png").tobytes() for state in STATES}
    assert len(pictures) == len(STATES)
