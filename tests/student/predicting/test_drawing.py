"""Drawn predictions, read back by their pixels."""

from __future__ import annotations

from PIL import Image, ImageColor

from stages.student.predicting.drawing import draw_prediction
from stages.student.predicting.fonts import font_for
from stages.student.predicting.predict import FilledRole, PredictedVerb

ORANGE = ImageColor.getrgb("#e69f00")


def verb(*roles: FilledRole, name: str = "jumping") -> PredictedVerb:
    return PredictedVerb(name, 0.5, roles)


AGENT = FilledRole("agent", "n1", "man", 0.5, (20.0, 20.0, 60.0, 60.0))
PLACE = FilledRole("place", "", "", 0.5, None)


def test_the_picture_is_enlarged_and_captioned_below() -> None:
    drawn = draw_prediction(Image.new("RGB", (100, 50), "white"), [verb(AGENT, PLACE)])
    assert drawn.width == 800
    assert drawn.height > 400
    assert drawn.getpixel((790, 390)) == (255, 255, 255), "the picture itself is not covered"


def test_a_box_is_drawn_where_it_lies() -> None:
    drawn = draw_prediction(Image.new("RGB", (100, 100), "white"), [verb(AGENT)])
    row = [drawn.getpixel((x, 320)) for x in range(800)]
    coloured = [x for x, pixel in enumerate(row) if pixel == ORANGE]
    assert min(coloured) in range(158, 165)
    assert max(coloured) in range(475, 482)
    assert (0, 0, 0) in row, "beside the coloured line a dark one, for bright backgrounds"


def test_large_pictures_are_made_smaller_and_small_letters_grow() -> None:
    large = draw_prediction(Image.new("RGB", (4000, 3000), "white"), [verb(AGENT)])
    assert large.width == 1600
    small = draw_prediction(Image.new("RGB", (800, 600), "white"), [verb(AGENT)])
    assert (large.height - 1200) > 1.5 * (small.height - 600)


def test_roles_without_a_box_are_told_and_long_names_are_cut() -> None:
    roles = [FilledRole("r" * 90, "n1", "g" * 200, 0.5, (0.0, 0.0, 1.0, 1.0)), PLACE]
    drawn = draw_prediction(Image.new("RGB", (30, 900), "white"), [verb(*roles, name="v" * 100)] * 3)
    assert drawn.width >= 380, "a picture as narrow as that gets paper beside it"


def test_a_box_without_area_is_still_visible() -> None:
    dot = FilledRole("agent", "n1", "man", 0.5, (100.0, 100.0, 100.0, 100.0))
    drawn = draw_prediction(Image.new("RGB", (100, 100), "white"), [verb(dot)])
    assert ORANGE in {drawn.getpixel((x, y)) for x in range(780, 800) for y in range(780, 800)}


def test_the_given_picture_stays_as_it_was() -> None:
    picture = Image.new("RGB", (900, 900), "white")
    draw_prediction(picture, [verb(AGENT)])
    assert picture.getcolors() == [(810000, (255, 255, 255))]


def test_a_font_has_the_letters_it_is_asked_for_or_is_the_one_always_there() -> None:
    assert font_for("agent", 20).getname()[0] == "Aileron"
    assert font_for("\ue000", 20).getname()[0] == "Aileron", "a letter that no font has"
