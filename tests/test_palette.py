"""The racers' colours are readable on their ground, and apart for every kind of eye: both are computed here.

Contrast is WCAG 2's. Distance is Euclidean in OKLab (Ottosson 2020), where about 0.02 is just noticeable.
Colour blindness is simulated by Machado, Oliveira and Fernandes (2009), severity 1.0, on linear RGB.
"""

import itertools
import tomllib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ui.palette import DASHES, HUES, RACERS, TOKENS, Theme

Colour = NDArray[np.float64]  # linear RGB in 0..1, shape [3]

THEMES: tuple[Theme, ...] = ("light", "dark")
RACER_CONTRAST: dict[Theme, float] = {"light": 3.2, "dark": 4.5}
APART = 0.07

VISION = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}

LMS_OF_RGB = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
OKLAB_OF_LMS = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def linear(colour: str) -> Colour:
    encoded = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    low, high = sorted(float(linear(colour) @ [0.2126, 0.7152, 0.0722]) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def oklab(colour: Colour) -> Colour:
    lab: Colour = OKLAB_OF_LMS @ np.cbrt(LMS_OF_RGB @ colour)
    return lab


def seen(colour: str, vision: str) -> Colour:
    return oklab(np.clip(VISION[vision] @ linear(colour), 0, 1))


def hue(colour: str) -> float:
    _, a, b = oklab(linear(colour))
    return float(np.degrees(np.arctan2(b, a)))


def test_the_measures_themselves() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)
    np.testing.assert_allclose(oklab(linear("#ffffff")), [1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(oklab(linear("#ff0000")), [0.62796, 0.22486, 0.12585], atol=1e-4)
    for matrix in VISION.values():  # greys stay what they are
        np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-5)
    red_and_green = [seen(colour, "deuteranopia") for colour in ("#c05040", "#7a7a30")]
    assert np.linalg.norm(red_and_green[0] - red_and_green[1]) < 0.07  # the test can fail


def test_one_of_each_for_eight_racers() -> None:
    assert len(HUES) == len(set(HUES)) == len(DASHES) == len(set(DASHES)) == 8
    assert all(len(RACERS[theme]) == len(set(RACERS[theme])) == 8 for theme in THEMES)


@pytest.mark.parametrize("theme", THEMES)
def test_racers_are_readable(theme: Theme) -> None:
    ground = TOKENS[theme]["ground"]
    measured = {name: contrast(colour, ground) for name, colour in zip(HUES, RACERS[theme], strict=True)}
    assert min(measured.values()) >= RACER_CONTRAST[theme], measured


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("theme", THEMES)
def test_racers_are_apart(theme: Theme, vision: str) -> None:
    named = zip(HUES, RACERS[theme], strict=True)
    for (one, a), (other, b) in itertools.combinations(named, 2):
        distance = float(np.linalg.norm(seen(a, vision) - seen(b, vision)))
        assert distance >= APART, f"{one} and {other} are {distance:.3f} apart under {vision}"


def test_a_racer_keeps_its_hue_in_both_themes() -> None:
    for name, light, dark in zip(HUES, RACERS["light"], RACERS["dark"], strict=True):
        turn = abs((hue(light) - hue(dark) + 180) % 360 - 180)
        assert turn <= 15, f"{name} turns by {turn:.0f} degrees"


@pytest.mark.parametrize("theme", THEMES)
def test_text_is_readable(theme: Theme) -> None:
    tokens = TOKENS[theme]
    pairs = [*itertools.product(("text", "secondary"), ("ground", "panel")), ("accent", "ground")]
    for text, surface in pairs:
        measured = contrast(tokens[text], tokens[surface])
        assert measured >= 4.5, f"{text} on {surface}: {measured:.2f}"
    assert contrast(tokens["accent"], tokens["panel"]) >= 3  # marks and large text only


@pytest.mark.parametrize("theme", THEMES)
def test_streamlit_is_given_the_same_tokens(theme: Theme) -> None:
    config = tomllib.loads((Path(__file__).parent.parent / ".streamlit" / "config.toml").read_text())
    names = {
        "primaryColor": "accent",
        "backgroundColor": "ground",
        "secondaryBackgroundColor": "panel",
        "textColor": "text",
        "linkColor": "accent",
        "borderColor": "hairline",
    }
    assert config["theme"][theme] == {option: TOKENS[theme][token] for option, token in names.items()}
    assert "base" not in config["theme"]  # the browser's preference decides
