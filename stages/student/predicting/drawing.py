"""A prediction drawn: the picture with its boxes and their labels, and under it what they say in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw
from PIL.ImageFont import FreeTypeFont

from stages.data.sample import Box
from stages.printable import printable
from stages.student.network.label_places import Extent, place_labels
from stages.student.predicting.fonts import font_for
from stages.student.predicting.predict import FilledRole, PredictedVerb

SMALLEST, LARGEST = (
    800,
    1600,
)  # pixels of the longer side as drawn: letters need room, files should stay small
_LETTERS = 46  # the height of a letter is the longer side by this
_NARROWEST = 20  # letters: a picture more upright than that is given paper at its right
_COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#d55e00", "#cc79a7")  # Okabe and Ito: for all eyes
_PAPER, _INK, _GREY, _EDGE = "#18181b", "#fafafa", "#a1a1aa", "#000000"


@dataclass(frozen=True, slots=True)
class _Pen:
    """Sizes in pixels, all from the longer side of the picture."""

    letter: int
    line: int
    gap: int

    @staticmethod
    def for_side(side: int) -> _Pen:
        return _Pen(letter=round(side / _LETTERS), line=max(2, round(side / 300)), gap=round(side / 90))


def draw_prediction(picture: Image.Image, verbs: Sequence[PredictedVerb]) -> Image.Image:
    """The picture, larger or smaller where it must be, with the situation of the first of its verbs.

    picture  RGB, as it was predicted on
    verbs    best first; at least one
    """
    drawn, scale = _scaled(picture)
    pen = _Pen.for_side(max(drawn.size))
    drawn = _widened(drawn, _NARROWEST * pen.letter)
    _draw_boxes(drawn, verbs[0].roles, scale, pen)
    caption = _caption(drawn.width, verbs, pen)
    page = Image.new("RGB", (drawn.width, drawn.height + caption.height), _PAPER)
    page.paste(drawn, (0, 0))
    page.paste(caption, (0, drawn.height))
    return page


def _scaled(picture: Image.Image) -> tuple[Image.Image, tuple[float, float]]:
    """A copy whose longer side suits, and its pixels per pixel of the original along x and y."""
    longer = max(picture.size)
    wanted = min(max(longer, SMALLEST), LARGEST)
    if wanted == longer:
        return picture.copy(), (1.0, 1.0)
    width, height = (max(1, round(side * wanted / longer)) for side in picture.size)
    drawn = picture.resize((width, height), Image.Resampling.LANCZOS)
    return drawn, (width / picture.width, height / picture.height)


def _widened(drawn: Image.Image, width: int) -> Image.Image:
    if drawn.width >= width:
        return drawn
    page = Image.new("RGB", (width, drawn.height), _PAPER)
    page.paste(drawn, (0, 0))
    return page


def _draw_boxes(
    drawn: Image.Image, roles: Sequence[FilledRole], scale: tuple[float, float], pen: _Pen
) -> None:
    boxed = [(i, role, role.box) for i, role in enumerate(roles) if role.box is not None]
    boxes = [_laid(box, scale, drawn.size, pen) for _, _, box in boxed]
    draw = ImageDraw.Draw(drawn)
    # The largest first, so that no small box disappears under the line of a large one.
    for place in sorted(range(len(boxed)), key=lambda place: -_area(boxes[place])):
        _outline(draw, boxes[place], _colour(boxed[place][0]), pen)
    texts = [_fit(_short(role), drawn.width - 2 * pen.gap, pen.letter) for _, role, _ in boxed]
    extents = [_extent(text, pen) for text in texts]
    frame = Extent(*drawn.size)
    for (i, _, _), text, place_ in zip(boxed, texts, place_labels(boxes, extents, frame), strict=True):
        _tag(draw, text, place_, _colour(i), pen)


def _laid(box: Box, scale: tuple[float, float], size: tuple[int, int], pen: _Pen) -> Box:
    """In pixels of the drawing, wholly visible and never thinner than its own line."""
    least = 3 * pen.line
    x1, x2 = _side(box[0] * scale[0], box[2] * scale[0], size[0] - 1, least)
    y1, y2 = _side(box[1] * scale[1], box[3] * scale[1], size[1] - 1, least)
    return x1, y1, x2, y2


def _side(low: float, high: float, end: float, least: float) -> tuple[float, float]:
    low = min(max(low, 0.0), max(end - least, 0.0))
    return low, min(max(high, low + least), end)


def _outline(draw: ImageDraw.ImageDraw, box: Box, colour: str, pen: _Pen) -> None:
    """Light and dark lines side by side: one of them shows on any background."""
    x1, y1, x2, y2 = box
    draw.rectangle(box, outline=_EDGE, width=pen.line + 2)
    draw.rectangle((x1 + 1, y1 + 1, x2 - 1, y2 - 1), outline=colour, width=pen.line)


def _tag(draw: ImageDraw.ImageDraw, text: str, place: Box, colour: str, pen: _Pen) -> None:
    x1, y1, x2, y2 = place
    draw.rectangle((x1, y1, x2 - 1, y2 - 1), fill=colour, outline=_EDGE)
    _write(draw, (x1 + pen.gap, (y1 + y2) / 2), text, pen.letter, _EDGE)


def _extent(text: str, pen: _Pen) -> Extent:
    return Extent(_length(text, pen.letter) + 2 * pen.gap, round(pen.letter * 1.5))


def _caption(width: int, verbs: Sequence[PredictedVerb], pen: _Pen) -> Image.Image:
    """The verb, its roles by the colour of their boxes, and what else it might be; as high as it needs."""
    best, room = verbs[0], width - 2 * pen.gap
    large, step = round(pen.letter * 1.35), round(pen.letter * 1.6)
    others = ", ".join(f"{_line(verb.verb)} {_percent(verb.probability)}" for verb in verbs[1:])
    height = 2 * pen.gap + round(1.6 * large) + step * (len(best.roles) + bool(others))
    caption = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(caption)
    y = float(pen.gap)
    title = _fit(f"{_line(best.verb)}  {_percent(best.probability)}", room, large)
    _write(draw, (pen.gap, y + 0.8 * large), title, large, _INK)
    y += 1.6 * large
    for i, role in enumerate(best.roles):
        middle, dot = y + step / 2, pen.letter * 0.35
        _swatch(draw, (pen.gap, middle - dot, pen.gap + 2 * dot, middle + dot), _colour(i), bool(role.box))
        text = _fit(_full(role), room - 3 * dot, pen.letter)
        ink = _INK if role.noun else _GREY
        _write(draw, (pen.gap + 3 * dot, middle), text, pen.letter, ink)
        y += step
    if others:
        text = _fit(f"or {others}", room, pen.letter)
        _write(draw, (pen.gap, y + step / 2), text, pen.letter, _GREY)
    return caption


def _swatch(draw: ImageDraw.ImageDraw, place: Box, colour: str, boxed: bool) -> None:
    """Filled where the picture shows a box of this colour."""
    draw.rectangle(place, outline=colour, fill=colour if boxed else None, width=2)


def _write(draw: ImageDraw.ImageDraw, middle: tuple[float, float], text: str, size: int, ink: str) -> None:
    """Beginning at x, its capitals centred on y: a font's own middle counts room for accents and tails."""
    font = font_for(text, size)
    _, top, _, bottom = font.getbbox("H", anchor="ls")
    draw.text((middle[0], middle[1] - (top + bottom) / 2), text, fill=ink, font=font, anchor="ls")


def _colour(role: int) -> str:
    return _COLOURS[role % len(_COLOURS)]


def _short(role: FilledRole) -> str:
    return f"{_line(role.role)}: {_line(role.gloss) or 'not filled'}"


def _full(role: FilledRole) -> str:
    where = "" if role.box else ", no box"
    return f"{_short(role)}  {_percent(role.probability)}{where}"


def _percent(probability: float) -> str:
    return f"{100 * probability:.0f} %"


def _line(text: str) -> str:
    return printable(text).replace("\n", " ")


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _length(text: str, size: int) -> float:
    font: FreeTypeFont = font_for(text, size)
    return float(font.getlength(text))


def _fit(text: str, room: float, size: int) -> str:
    """The text, its end cut off where it is wider than the room."""
    if _length(text, size) <= room:
        return text
    while text and _length(f"{text}...", size) > room:
        text = text[:-1].rstrip()
    return f"{text}..."
