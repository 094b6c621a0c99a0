"""Lays out one drawn scene: who and what stands where, what is drawn over what, and the boxes that follow.

Lengths here are in units of a grown person's height. x runs the way the agent faces, from the agent's
middle; y runs up from the ground.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random

from PIL import Image

from stages.data.sample import Box
from stages.data.scene_animals import BEASTS, body_line, draw_animal
from stages.data.scene_grammar import AGENT, PLACE, VerbParts
from stages.data.scene_marks import (
    draw_furrows,
    draw_motion,
    draw_rope,
    draw_shadow,
    draw_slings,
    draw_sweat,
    draw_waves,
)
from stages.data.scene_pen import Layer, Pen, stack, visible_boxes
from stages.data.scene_people import LOOKS, draw_person, pose_of
from stages.data.scene_places import draw_place
from stages.data.scene_things import THINGS

LIFT = 0.34  # how far a jump leaves the ground
_ROOM_BEHIND = {AGENT: 0.55, "blocker": 0.55, "object": 0.45}  # for the signs of motion behind a piece
MARGIN = 0.05  # free share of the picture at its edges


@dataclass(frozen=True, slots=True)
class Scene:
    """What a picture shows. `fillers`: role -> what is drawn, "" = the role is not filled and not drawn."""

    key: str  # decides everything that is left to chance
    verb: str
    size: tuple[int, int]
    fillers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Piece:
    """One thing at its place; `turn` is -1 where it faces the agent."""

    role: str
    name: str
    x: float
    y: float
    height: float
    turn: int = 1

    @property
    def width(self) -> float:
        if self.name in THINGS:
            return self.height * THINGS[self.name].width
        if self.name in BEASTS:
            beast = BEASTS[self.name]
            return self.height * (beast.length + beast.body + 2 * beast.head[0])
        return 0.8 * self.height  # a person with arms and legs stretched

    @property
    def left(self) -> float:
        return self.x - self.width / 2

    @property
    def right(self) -> float:
        return self.x + self.width / 2

    @property
    def top(self) -> float:
        return self.y + self.height


@dataclass(frozen=True, slots=True)
class Drawing:
    """A finished picture and the boxes of what can be seen in it (see `visible_boxes`)."""

    ground: Image.Image
    layers: tuple[Layer, ...]
    boxes: Mapping[str, Box]

    def picture(self) -> Image.Image:
        return stack(self.ground, self.layers)


def draw_scene(scene: Scene) -> Drawing:
    """Draws a scene; equal scenes give equal pixels."""
    rng = Random(f"{scene.key}/layout")
    verb = VerbParts.of(scene.verb)
    pieces = arrange(verb, scene.fillers, rng)
    view = _View.fitted(scene.size, pieces, rng)
    layers = tuple(_layers(scene.key, verb, pieces, view))
    ground = draw_place(scene.fillers[PLACE], scene.size, Random(f"{scene.key}/place"))
    return Drawing(ground, layers, visible_boxes(layers, *scene.size))


def arrange(verb: VerbParts, fillers: Mapping[str, str], rng: Random) -> dict[str, Piece]:
    """Role -> piece, in units of a grown person, for every role that is filled and drawn."""
    agent = _agent(verb, fillers[AGENT])
    pieces: dict[str, Piece] = {}
    for part in verb.parts:
        name = fillers.get(part.role, "")
        if name and part.role in _PLACERS:
            target = _PLACERS[part.role](part.role, name, agent, rng)
            pieces[part.role] = target
            if part.role == "obstacle":
                agent = replace(agent, y=agent.y + 0.97 * target.height)
    held = _held(verb, fillers, agent)
    if held is not None:
        pieces[held.role] = held
    if fillers.get("object"):
        pieces["object"] = _dragged(fillers["object"], [agent, *pieces.values()], verb.relation, rng)
    if "shelter" in pieces:
        above = max(piece.top for piece in (agent, held) if piece is not None)
        pieces["shelter"] = replace(pieces["shelter"], y=above + 0.12)
    return {AGENT: agent, **pieces}


def _agent(verb: VerbParts, name: str) -> Piece:
    height = LOOKS[name].height if name in LOOKS else BEASTS[name].height
    return Piece(AGENT, name, 0.0, LIFT if verb.motion == "jumping" else 0.0, height)


def _standing_piece(role: str, name: str, tallest: float) -> Piece:
    natural = THINGS[name].height if name in THINGS else BEASTS[name].height
    return Piece(role, name, 0.0, 0.0, min(natural, tallest))


def _ahead(role: str, name: str, agent: Piece, rng: Random) -> Piece:
    piece = _standing_piece(role, name, 1.3)
    return replace(piece, x=agent.right + rng.uniform(0.05, 0.3) + piece.width / 2, turn=-1)


def _below(role: str, name: str, agent: Piece, rng: Random) -> Piece:
    return replace(_standing_piece(role, name, 0.62), x=rng.uniform(-0.1, 0.1), turn=rng.choice((1, -1)))


def _overhead(role: str, name: str, agent: Piece, rng: Random) -> Piece:
    return replace(_standing_piece(role, name, 0.62), x=rng.uniform(-0.15, 0.15), turn=rng.choice((1, -1)))


def _in_front(role: str, name: str, agent: Piece, rng: Random) -> Piece:
    piece = _standing_piece(role, name, 0.62 * max(agent.height, 0.7))
    shift = 0.5 * piece.width + (0.12 - rng.uniform(0.0, 0.12)) * agent.width
    return replace(piece, x=-shift, y=-0.1, turn=rng.choice((1, -1)))


_PLACERS = {"destination": _ahead, "obstacle": _below, "shelter": _overhead, "blocker": _in_front}


def _held(verb: VerbParts, fillers: Mapping[str, str], agent: Piece) -> Piece | None:
    """What the agent waves or carries: in the raised hand, in both hands, or on the back."""
    role = {"waving": "tool", "carrying": "item"}.get(verb.use, "")
    name = fillers.get(role, "")
    if not name:
        return None
    piece = _standing_piece(role, name, 1.0 if agent.name in LOOKS else 0.6 * agent.height)
    if verb.use == "waving":
        x, y = pose_of(verb.motion, verb.use).hands[1]
        return replace(piece, x=x * agent.height, y=agent.y + (y - 0.05) * agent.height)
    if agent.name in BEASTS:
        (x1, y1), (x2, y2) = body_line(agent.name, verb.motion)
        back = (y1 + y2) / 2 + 0.46 * BEASTS[agent.name].body
        return replace(piece, x=(x1 + x2) / 2 * agent.height, y=agent.y + back * agent.height)
    pose = pose_of(verb.motion, verb.use)
    if verb.motion == "crawling":
        x, y = (pose.hips[0] + pose.neck[0]) / 2, (pose.hips[1] + pose.neck[1]) / 2 + 0.08
        return replace(piece, x=x * agent.height, y=agent.y + y * agent.height)
    x, y = pose.hands[1]
    return replace(piece, x=x * agent.height + 0.3 * piece.width, y=agent.y + y * agent.height - 0.12)


def _dragged(name: str, others: list[Piece], relation: str, rng: Random) -> Piece:
    """On the ground behind everything that stands there, at a rope's length."""
    rear = min(piece.left for piece in others if piece.role not in ("shelter", "destination"))
    piece = _standing_piece("object", name, 1.0)
    return replace(piece, x=rear - rng.uniform(0.15, 0.4) - piece.width / 2)


@dataclass(frozen=True, slots=True)
class _View:
    """Scale and place of the arrangement in a picture: pixels of one unit, the agent's x, the ground's y."""

    size: tuple[int, int]
    unit: float
    x: float
    y: float
    facing: int

    @staticmethod
    def fitted(size: tuple[int, int], pieces: Mapping[str, Piece], rng: Random) -> _View:
        """As large as chance and the picture allow, somewhere in the picture, facing either way."""
        width, height = size
        left = min(piece.left - _ROOM_BEHIND.get(piece.role, 0.0) for piece in pieces.values())
        right = max(piece.right for piece in pieces.values()) + 0.05
        top = max(piece.top for piece in pieces.values()) + 0.1
        room = 1 - 2 * MARGIN
        ground = height * rng.uniform(0.82, 0.93)
        unit = min(height * rng.uniform(0.40, 0.54), room * width / (right - left), 0.97 * ground / top)
        facing = rng.choice((1, -1))
        start = rng.uniform(0, room * width - unit * (right - left)) + MARGIN * width - unit * left
        return _View(size, unit, start if facing == 1 else width - start, ground, facing)

    def pen(self, piece: Piece) -> Pen:
        """A pen whose unit is the piece's height and whose origin is the piece's foot."""
        x, y = self.x + self.facing * self.unit * piece.x, self.y - self.unit * piece.y
        return Pen(self.size, x, y, self.unit * piece.height, self.facing * piece.turn)

    def free_pen(self) -> Pen:
        """A pen in the arrangement's own units."""
        return Pen(self.size, self.x, self.y, self.unit, self.facing)


def _layers(key: str, verb: VerbParts, pieces: Mapping[str, Piece], view: _View) -> list[Layer]:
    """From the lowest to the topmost; marks and ropes belong to no role."""
    drawn = [_marks(verb, pieces, view)]
    order = ["shelter", "destination", "obstacle", "object", "tool", AGENT, "item", "blocker"]
    for role in order:
        if role in pieces:
            drawn.append(_draw_piece(key, verb, pieces[role], view))
    return [layer for layer in drawn if layer is not None]


def _draw_piece(key: str, verb: VerbParts, piece: Piece, view: _View) -> Layer | None:
    pen, rng = view.pen(piece), Random(f"{key}/{piece.role}")
    if piece.name in LOOKS:
        draw_person(pen, piece.name, verb.motion, verb.use, rng)
    elif piece.name in BEASTS:
        draw_animal(pen, piece.name, verb.motion if piece.role == AGENT else "standing", rng)
    else:
        THINGS[piece.name].draw(pen, rng)
    return pen.layer(piece.role)


def _marks(verb: VerbParts, pieces: Mapping[str, Piece], view: _View) -> Layer | None:
    """Shadows, the signs of the motion, the rope and the slings, all under the pieces themselves."""
    pen, agent = view.free_pen(), pieces[AGENT]
    for piece in pieces.values():
        if piece.role in (AGENT, "destination", "obstacle", "object") and "blocker" not in pieces:
            draw_shadow(pen, piece.x, 0.0, piece.width)
    rear = min(pieces[role].left for role in (AGENT, "blocker") if role in pieces)
    draw_motion(pen, verb.motion, agent.x, (rear, agent.y), agent.height, agent.width)
    if verb.use == "waving" and "tool" in pieces:
        tool = pieces["tool"]
        draw_waves(pen, (tool.x, tool.y + 0.6 * tool.height), tool.width)
    if verb.use == "carrying":
        draw_sweat(pen, _crown(verb, agent))
    if "shelter" in pieces:
        draw_slings(
            pen, pieces["shelter"].x, pieces["shelter"].top, pieces["shelter"].width, view.y / view.unit
        )
    if "object" in pieces:
        item = pieces["object"]
        draw_furrows(pen, item.left)
        draw_rope(pen, _grip(verb, agent), (item.x + 0.42 * item.width, item.y + 0.55 * item.height))
    return pen.layer("")


def _crown(verb: VerbParts, agent: Piece) -> tuple[float, float]:
    """A little above the agent's head."""
    if agent.name in LOOKS:
        x, y = pose_of(verb.motion, verb.use).head
        rise = 1.3 * LOOKS[agent.name].head
    else:
        beast = BEASTS[agent.name]
        front = body_line(agent.name, verb.motion)[1]
        x, y = front[0] + beast.neck[0], front[1] + beast.neck[1]
        rise = 1.4 * beast.head[1]
    return agent.x + x * agent.height, agent.y + (y + rise) * agent.height


def _grip(verb: VerbParts, agent: Piece) -> tuple[float, float]:
    """Where the rope is fastened: a person's near hand, an animal's hind end."""
    if agent.name in LOOKS:
        x, y = pose_of(verb.motion, verb.use).hands[1]
    else:
        x, y = body_line(agent.name, verb.motion)[0]
    return agent.x + x * agent.height, agent.y + y * agent.height
