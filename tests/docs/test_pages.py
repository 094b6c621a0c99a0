"""What the pages under docs/ say of settings is what the settings say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stages.student.settings import LossSettings, TrainSettings
from stages.teacher.asking.prompt import load_prompt
from tests.docs.pages import DOCS, sections

_WEIGHT = re.compile(r"^\| (`\w+`(?:, `\w+`)*) \| ([0-9.]+)(?: \(`(\w+)`\))? \|", re.MULTILINE)


def test_the_method_s_weights_are_the_defaults() -> None:
    told: dict[str, float] = {}
    for names, weight, setting in _WEIGHT.findall((DOCS / "method.md").read_text(encoding="utf-8")):
        told |= dict.fromkeys([setting] if setting else re.findall(r"`(\w+)`", names), float(weight))
    defaults = LossSettings()
    assert told == {name: getattr(defaults, name) for name in told}
    weights = {name for name, field in LossSettings.model_fields.items() if field.annotation is float}
    assert weights - told.keys() == {"verb_smoothing", "noun_smoothing", "temperature"}


def test_the_method_s_training_values_are_the_defaults() -> None:
    text = (DOCS / "method.md").read_text(encoding="utf-8")
    train = TrainSettings()
    assert f"`clip` {train.clip}, {train.epochs} epochs of batches of {train.batch_size}" in text
    assert (train.lr, train.weight_decay) == (1e-4, 1e-4)
    assert "`train.lr` 1e-4, `weight_decay` 1e-4" in text


def test_the_prompt_shown_can_be_used(tmp_path: Path) -> None:
    (prompt,) = (block for block in sections("teachers.md")["The prompt"] if block.language == "yaml")
    path = tmp_path / "mine.yaml"
    path.write_text(prompt.text, encoding="utf-8")
    assert load_prompt(str(path)).question.get_identifiers()


@pytest.mark.parametrize("page", sorted(path.name for path in DOCS.glob("*.md")))
def test_formulas_stand_where_github_renders_them(page: str) -> None:
    """A dollar sign in a table's cell or beside a backquote is shown as it is written."""
    text = (DOCS / page).read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    prose = re.sub(r"`[^`\n]*`", "", prose)
    assert prose.count("$") % 2 == 0
    for formula in re.findall(r"\$([^$]*)\$", prose):
        assert formula == formula.strip(), formula
        assert "\n\n" not in formula
        assert formula.count("{") == formula.count("}")
