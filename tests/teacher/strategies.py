"""Annotated pictures of any kind, for property tests."""

from __future__ import annotations

from hypothesis import strategies as st

from stages.data.sample import Box, Sample
from stages.data.vocabulary import Vocabulary


@st.composite
def samples(draw: st.DrawFn, vocabulary: Vocabulary) -> Sample:
    """Any verb, any nouns with a gloss in its roles (mostly filled), any box or none."""
    verb = draw(st.sampled_from(vocabulary.verbs))
    roles = vocabulary.frames[verb].roles
    noun = st.one_of(st.just(""), st.sampled_from(sorted(vocabulary.glosses)))
    width, height = draw(st.integers(8, 512)), draw(st.integers(8, 512))
    return Sample(
        image=draw(st.text("abc123", min_size=1, max_size=8)) + ".jpg",
        split="train",
        verb=verb,
        width=width,
        height=height,
        roles=roles,
        nouns=tuple(draw(st.tuples(noun, noun, noun)) for _ in roles),
        boxes=tuple(draw(st.one_of(st.none(), _boxes(width, height))) for _ in roles),
    )


def _boxes(width: int, height: int) -> st.SearchStrategy[Box]:
    def sides(limit: int) -> st.SearchStrategy[tuple[float, float]]:
        pair = st.tuples(st.integers(0, limit), st.integers(0, limit))
        return pair.filter(lambda ends: ends[0] < ends[1]).map(lambda ends: (float(ends[0]), float(ends[1])))

    return st.builds(lambda x, y: (x[0], y[0], x[1], y[1]), sides(width), sides(height))
