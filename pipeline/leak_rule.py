"""What counts as naming a held-out verb, for whoever proves a store free of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cache.verify import LeakRule
from stages.data.swig import DataSet
from stages.teacher.judging.judge import leaked_verb


def leak_rule(data: DataSet) -> LeakRule:
    """The judge's own rule for held-out verbs, so that "swimming pool" does not count as swimming."""
    held_out = frozenset(verb for verb, subset in data.subset_of.items() if subset == "unseen")
    annotated = {sample.image: sample.nouns for sample in data.samples}

    def rule(row: Mapping[str, Any]) -> str | None:
        nouns = [noun for three in annotated.get(row["image"], ()) for noun in three if noun]
        nouns += json.loads(row["contrast_nouns"]).values()
        about = [verb for verb in (row["verb"], row["contrast_verb"]) if verb in data.vocabulary.frames]
        return leaked_verb(row["text"], nouns, about, data.vocabulary, held_out)

    return rule
