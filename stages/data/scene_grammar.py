"""Verbs of the drawn scenes: a motion, and with some a relation to a thing and a use of the hands.

A verb's name is its parts joined by hyphens; its sentence and definition are put together from the same
parts, so a verb without training pictures shares its words with verbs that have some.
"""

from __future__ import annotations

from dataclasses import dataclass

AGENT, PLACE = "agent", "place"


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a verb: its words in the sentence and in the definition, and the role it brings."""

    sentence: str
    definition: str
    role: str = ""


MOTIONS: dict[str, Part] = {
    "running": Part("runs", "to run fast on foot with speed lines behind"),
    "jumping": Part("jumps", "to jump high into the air off the ground"),
    "crawling": Part("crawls", "to crawl low on hands and knees"),
    "standing": Part("stands", "to stand still and upright"),
}
RELATIONS: dict[str, Part] = {
    "toward": Part("toward DESTINATION", "toward a destination that lies ahead", "destination"),
    "over": Part("over OBSTACLE", "over the top of an obstacle", "obstacle"),
    "under": Part("under SHELTER", "under a shelter that hangs overhead", "shelter"),
    "behind": Part("behind BLOCKER", "behind a blocker that hides a part", "blocker"),
}
USES: dict[str, Part] = {
    "waving": Part("waving TOOL", "waving a tool in a raised hand", "tool"),
    "carrying": Part("carrying ITEM", "carrying an item in the arms or on the back", "item"),
    "dragging": Part("dragging OBJECT", "dragging an object along on a rope", "object"),
}

# By falling frequency in training. Any first ten or more of them hold every part of the first unseen verbs
# that go with them (see `chosen_verbs`), so a small data set keeps the structure of the full one.
SEEN: tuple[str, ...] = (
    "running", "jumping-over", "standing-waving", "crawling-under", "running-toward-carrying",
    "standing-behind", "jumping-waving", "crawling-dragging", "running-behind-waving",
    "standing-over-carrying", "crawling-toward", "running-over-dragging", "jumping",
    "standing-under-waving", "crawling-behind-carrying", "running-under", "jumping-toward-waving",
    "standing-dragging", "jumping-carrying", "crawling-over-waving", "running-toward-dragging",
    "standing", "crawling-under-dragging", "jumping-behind", "running-carrying",
    "standing-over-waving", "jumping-over-carrying", "crawling-behind", "running-over",
    "jumping-under-dragging", "crawling-toward-waving", "standing-under-carrying",
    "running-behind-dragging", "jumping-behind-carrying", "crawling-carrying",
    "standing-behind-waving", "running-under-carrying", "jumping-toward-dragging",
    "crawling-over-dragging", "standing-over",
)  # fmt: skip
UNSEEN: tuple[str, ...] = (
    "running-waving", "standing-under", "jumping-over-waving", "crawling-behind-dragging",
    "running-toward", "jumping-under-carrying", "crawling-over-carrying",
    "standing-behind-dragging",
)  # fmt: skip
FEWEST_VERBS, MOST_VERBS = 12, len(SEEN) + len(UNSEEN)


@dataclass(frozen=True, slots=True)
class VerbParts:
    """The parts a verb's name is made of; "" where it has no relation or no use."""

    motion: str
    relation: str
    use: str

    @staticmethod
    def of(verb: str) -> VerbParts:
        words = set(verb.split("-"))
        motion, relation, use = (
            next((word for word in table if word in words), "") for table in (MOTIONS, RELATIONS, USES)
        )
        assert {motion, relation, use} - {""} == words, verb
        return VerbParts(motion, relation, use)

    @property
    def parts(self) -> tuple[Part, ...]:
        """Motion, relation, use, without those the verb lacks."""
        named = ((self.motion, MOTIONS), (self.relation, RELATIONS), (self.use, USES))
        return tuple(table[name] for name, table in named if name)

    @property
    def roles(self) -> tuple[str, ...]:
        return (AGENT, *(part.role for part in self.parts if part.role), PLACE)

    @property
    def template(self) -> str:
        return " ".join(["AGENT", *(part.sentence for part in self.parts), "at PLACE"])

    @property
    def definition(self) -> str:
        return " ".join(part.definition for part in self.parts)


@dataclass(frozen=True, slots=True)
class ChosenVerbs:
    """Verbs of one data set: `ordinary` and `rare` by falling training frequency, `unseen` without any."""

    ordinary: tuple[str, ...]
    rare: tuple[str, ...]
    unseen: tuple[str, ...]

    @property
    def seen(self) -> tuple[str, ...]:
        return self.ordinary + self.rare

    @property
    def all(self) -> tuple[str, ...]:
        return tuple(sorted(self.seen + self.unseen))


def chosen_verbs(count: int) -> ChosenVerbs:
    """The first `count` verbs (12 to 48): one in six unseen, the last eighth of the seen ones rare."""
    assert FEWEST_VERBS <= count <= MOST_VERBS
    unseen = round(count / 6)
    seen = SEEN[: count - unseen]
    rare = max(1, len(seen) // 8)
    return ChosenVerbs(seen[:-rare], seen[-rare:], UNSEEN[:unseen])
