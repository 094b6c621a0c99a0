"""Where the label of each box is written, so that labels stay within the picture and off each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stages.data.sample import Box

_OVER_LABEL = 100.0  # a pixel of another label hidden, in pixels of another box hidden
_OVER_OWN = 0.2  # of the box it names: better beside it, where there is room
_FAR = 0.05  # a pixel of distance from its box, per pixel of the label's height


@dataclass(frozen=True, slots=True)
class Extent:
    """Width and height in pixels."""

    width: float
    height: float


def place_labels(boxes: Sequence[Box], labels: Sequence[Extent], frame: Extent) -> list[Box]:
    """A place for each label, x1 y1 x2 y2, in the order given.

    Tries around and inside its box first, then everywhere; takes what hides least. Labels overlap only
    where the frame has no room left for them, and lie wholly within it unless they are larger than it.
    """
    placed: list[Box] = []
    for i, (box, label) in enumerate(zip(boxes, labels, strict=True)):
        others = [other for j, other in enumerate(boxes) if j != i]
        places = [_within(x, y, label, frame) for x, y in _around(box, label)]
        places += [_within(x, y, label, frame) for x, y in _everywhere(box, label, frame)]
        costs = [_cost(place, box, others, placed, label) for place in places]
        placed.append(places[costs.index(min(costs))])
    return placed


def _around(box: Box, label: Extent) -> Iterator[tuple[float, float]]:
    """Upper left corners along the edges of a box, outside before inside, left before right."""
    x1, y1, x2, y2 = box
    left, right = x1, x2 - label.width
    for y in (y1 - label.height, y2, y1, y2 - label.height):
        yield left, y
        yield right, y
    for y in (y1, y2 - label.height):
        yield x2, y
        yield x1 - label.width, y


def _everywhere(box: Box, label: Extent, frame: Extent) -> Iterator[tuple[float, float]]:
    rows = int(frame.height // max(label.height, 1))
    columns = {0.0, box[0], box[2] - label.width, frame.width - label.width}
    for row in range(rows):
        for x in sorted(columns):
            yield x, row * label.height


def _within(x: float, y: float, label: Extent, frame: Extent) -> Box:
    x = max(0.0, min(x, frame.width - label.width))
    y = max(0.0, min(y, frame.height - label.height))
    return x, y, x + label.width, y + label.height


def _cost(place: Box, own: Box, others: Sequence[Box], placed: Sequence[Box], label: Extent) -> float:
    hidden = sum(overlap(place, there) for there in placed) * _OVER_LABEL
    hidden += sum(overlap(place, other) for other in others)
    return hidden + overlap(place, own) * _OVER_OWN + _apart(place, own) * label.height * _FAR


def overlap(a: Box, b: Box) -> float:
    """Pixels that two boxes share."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return width * height if width > 0 and height > 0 else 0.0


def _apart(a: Box, b: Box) -> float:
    """Pixels between two boxes, 0 where they touch."""
    across = max(a[0] - b[2], b[0] - a[2], 0.0)
    down = max(a[1] - b[3], b[1] - a[3], 0.0)
    return across + down
