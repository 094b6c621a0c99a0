"""Nouns of the drawn scenes: what is drawn, the WordNet ids people call it by, and the roles it may fill."""

from __future__ import annotations

from random import Random

from stages.data.sample import ANNOTATORS
from stages.data.scene_animals import BEASTS
from stages.data.scene_people import LOOKS

# WordNet 3.0 noun offsets and glosses as imSitu's noun list has them.
GLOSSES: dict[str, str] = {
    "n00007846": "person", "n09605289": "adult", "n09624168": "male", "n09619168": "female",
    "n09917593": "child", "n10287213": "man", "n10787470": "woman", "n10243137": "lady",
    "n10285313": "boy", "n10129825": "girl", "n10622053": "soldier", "n09963574": "chef",
    "n09963320": "cook", "n09930876": "clown", "n09972661": "cowboy",
    "n00015388": "animal", "n02084071": "dog", "n01322604": "puppy", "n02121620": "cat",
    "n02122948": "kitten", "n02374451": "horse", "n02380335": "pony", "n01887787": "cow",
    "n02402425": "cattle", "n02411705": "sheep", "n02412440": "lamb", "n02503517": "elephant",
    "n02131653": "bear", "n02324045": "rabbit", "n02324587": "bunny",
    "n04524313": "vehicle", "n02958343": "car", "n02924116": "bus", "n04490091": "truck",
    "n04465501": "tractor", "n02858304": "boat", "n04128499": "sailboat", "n02834778": "bicycle",
    "n03405725": "furniture", "n03001627": "chair", "n04161981": "seat", "n04379243": "table",
    "n03179701": "desk", "n04256520": "sofa", "n03115762": "couch", "n02818832": "bed",
    "n02828884": "bench", "n03327234": "fence", "n13104059": "tree", "n00017222": "plant",
    "n13112664": "shrub", "n09416076": "rock", "n09227839": "boulder", "n03544360": "house",
    "n02913152": "building", "n04411264": "tent", "n02795169": "barrel", "n02883344": "box",
    "n02971356": "carton", "n03127925": "crate", "n02801938": "basket", "n02778669": "ball",
    "n02773838": "bag", "n07735510": "pumpkin", "n02970849": "cart", "n04543158": "wagon",
    "n04235291": "sled", "n13165815": "trunk", "n15098161": "wood", "n03354903": "flag",
    "n02788021": "banner", "n04507155": "umbrella", "n02782093": "balloon", "n03640988": "lantern",
    "n03636248": "lamp", "n02906734": "broom",
    "n08613733": "outdoors", "n08588294": "inside", "n08569998": "field", "n08598301": "grassland",
    "n09217230": "beach", "n09428293": "seashore", "n04334599": "street", "n04096066": "road",
    "n08505573": "desert", "n15019030": "sand", "n08438533": "forest", "n09439032": "snowfield",
    "n11508382": "snow", "n04105893": "room", "n03619890": "kitchen",
}  # fmt: skip

# What is drawn -> the glosses people call it by, the usual one first.
NAMES: dict[str, tuple[str, ...]] = {
    "man": ("man", "person", "adult", "male"),
    "woman": ("woman", "person", "lady", "female"),
    "boy": ("boy", "child", "male"),
    "girl": ("girl", "child", "female"),
    "soldier": ("soldier", "man", "person"),
    "chef": ("chef", "cook", "person"),
    "clown": ("clown", "person"),
    "cowboy": ("cowboy", "man", "person"),
    "dog": ("dog", "puppy", "animal"),
    "cat": ("cat", "kitten", "animal"),
    "horse": ("horse", "pony", "animal"),
    "cow": ("cow", "cattle", "animal"),
    "sheep": ("sheep", "lamb", "animal"),
    "elephant": ("elephant", "animal"),
    "bear": ("bear", "animal"),
    "rabbit": ("rabbit", "bunny", "animal"),
    "car": ("car", "vehicle"),
    "bus": ("bus", "vehicle"),
    "truck": ("truck", "vehicle"),
    "tractor": ("tractor", "vehicle"),
    "boat": ("boat", "sailboat"),
    "bicycle": ("bicycle", "vehicle"),
    "chair": ("chair", "seat", "furniture"),
    "table": ("table", "desk", "furniture"),
    "sofa": ("sofa", "couch", "furniture"),
    "bed": ("bed", "furniture"),
    "bench": ("bench", "seat"),
    "fence": ("fence",),
    "tree": ("tree", "plant"),
    "rock": ("rock", "boulder"),
    "bush": ("shrub", "plant"),
    "house": ("house", "building"),
    "tent": ("tent",),
    "barrel": ("barrel",),
    "box": ("box", "carton", "crate"),
    "basket": ("basket",),
    "ball": ("ball",),
    "bag": ("bag",),
    "pumpkin": ("pumpkin",),
    "cart": ("cart", "wagon"),
    "sled": ("sled",),
    "log": ("trunk", "wood"),
    "flag": ("flag", "banner"),
    "umbrella": ("umbrella",),
    "balloon": ("balloon",),
    "lantern": ("lantern", "lamp"),
    "broom": ("broom",),
    "field": ("field", "grassland", "outdoors"),
    "beach": ("beach", "seashore", "sand"),
    "street": ("street", "road", "outdoors"),
    "desert": ("desert", "sand", "outdoors"),
    "forest": ("forest", "outdoors"),
    "snowfield": ("snowfield", "snow", "outdoors"),
    "room": ("room", "inside"),
    "kitchen": ("kitchen", "room", "inside"),
}

# Role -> what may fill it. Things that share a role look different; many things fill several roles.
FILLERS: dict[str, tuple[str, ...]] = {
    "destination": ("car", "bus", "truck", "tractor", "boat", "bicycle", "house", "tree", "tent", "chair",
                    "bench", "cow", "horse", "sheep", "elephant"),
    "obstacle": ("fence", "rock", "bush", "box", "barrel", "table", "bench", "sofa", "bed", "chair", "car",
                 "log"),
    "shelter": ("boat", "car", "table", "sofa", "bed", "box", "tent", "umbrella", "bicycle", "bush"),
    "blocker": ("car", "bus", "truck", "tractor", "sofa", "fence", "bush", "rock", "barrel", "tent"),
    "tool": ("flag", "umbrella", "balloon", "lantern", "broom"),
    "item": ("box", "basket", "ball", "bag", "pumpkin"),
    "object": ("sled", "cart", "log", "box", "bag", "barrel"),
}  # fmt: skip

USUAL = 0.6  # share of annotators who give the usual name
_IDS = {gloss: noun for noun, gloss in GLOSSES.items()}


def agents(use: str) -> tuple[str, ...]:
    """Who may do it: only people can raise a tool."""
    return tuple(LOOKS) if use == "waving" else (*LOOKS, *BEASTS)


def noun_ids(name: str) -> tuple[str, ...]:
    """WordNet ids of something drawn, the usual one first."""
    return tuple(_IDS[gloss] for gloss in NAMES[name])


def annotate(name: str, overlooked: float, rng: Random) -> tuple[str, ...]:
    """What three annotators call it; each overlooks it ("") with that probability, but never all three."""
    ids = noun_ids(name)
    said = [ids[0] if rng.random() < USUAL else rng.choice(ids) for _ in range(ANNOTATORS)]
    if rng.random() < overlooked * ANNOTATORS:
        said[rng.randrange(ANNOTATORS)] = ""
    return tuple(said)
