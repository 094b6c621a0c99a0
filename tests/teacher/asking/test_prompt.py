from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from cache.errors import UserError
from cache.kinds import KINDS
from stages.data.sample import Sample
from stages.teacher.asking.prompt import answer_schema, build_prompt, load_prompt, prompt_identity
from stages.teacher.engines.engine import Contrast
from tests.teacher.examples import VOCABULARY, jumping

CONTRAST = Contrast("diving", {"agent": "n00000003", "place": "n00000011"})
PARTS = {"system": "s", "shared": "h", "question": "$verb?", "again": "$reasons"}


def write(folder: Path, parts: object) -> str:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(parts))
    return str(path)


def test_the_question_holds_the_annotation_and_the_contrast() -> None:
    mixed = jumping()
    nouns = (("n00000001", "n00000010", "n00000001"), *mixed.nouns[1:])
    sample = Sample(**{**{name: getattr(mixed, name) for name in Sample.__slots__}, "nouns": nouns})
    question = build_prompt("rationales", sample, CONTRAST, VOCABULARY).question
    assert "True activity: jumping (to push oneself off the ground)" in question
    assert "Sentence: AGENT jumps from SOURCE over OBSTACLE into DESTINATION at PLACE" in question
    assert "- agent: man / person, box 0.25, 0.20, 0.50, 0.80\n" in question
    assert "- obstacle: not filled\n" in question
    assert "- place: outdoors\n" in question
    assert "Wrong activity: diving\nSentence: AGENT dove at PLACE" in question
    assert "- agent: horse\n- place: field\n" in question
    assert "positive_glimpse, negative_glimpse, positive_gaze, negative_gaze." in question
    assert "$" not in question
    assert "rejected" not in question


def test_what_stands_before_the_picture_is_equal_for_all_pictures() -> None:
    one = build_prompt("rationales", jumping(), CONTRAST, VOCABULARY)
    other = build_prompt("rationales", jumping({}), Contrast("swimming", {}), VOCABULARY)
    assert (one.system, one.shared) == (other.system, other.shared)
    assert one.question != other.question
    assert all(kind.field in one.shared for kind in KINDS)


def test_a_repeated_request_asks_for_the_rejected_fields_and_says_why() -> None:
    reasons = {KINDS[1]: "the text is empty", KINDS[2]: "costs $5"}
    first = build_prompt("rationales", jumping(), CONTRAST, VOCABULARY)
    again = build_prompt("rationales", jumping(), CONTRAST, VOCABULARY, tuple(reasons), reasons)
    assert "exactly these fields, in this order: negative_glimpse, positive_gaze." in again.question
    assert "- negative_glimpse: the text is empty\n- positive_gaze: costs $5" in again.question
    assert (again.system, again.shared) == (first.system, first.shared)


def test_a_dollar_sign_is_written_twice_in_any_part(tmp_path: Path) -> None:
    name = write(tmp_path, {part: f"$$5 {text}" for part, text in PARTS.items()})
    prompt = build_prompt(name, jumping(), CONTRAST, VOCABULARY, KINDS[:1], {KINDS[0]: "why"})
    assert (prompt.system, prompt.shared) == ("$5 s", "$5 h")
    assert prompt.question == "$5 jumping?\n$5 - positive_glimpse: why"


def test_a_judges_prompt_has_a_contrast_and_no_wording_for_a_second_time() -> None:
    judges = load_prompt("judge", "judge")
    assert judges.contrast.template
    assert not judges.again.template
    assert not load_prompt("rationales").contrast.template
    assert prompt_identity("judge", "judge", 7) == {
        "prompt": "judge",
        "prompt_digest": judges.digest,
        "parser": 7,
    }
    with pytest.raises(UserError, match=r"teacher\.prompt 'judge': needs exactly the parts .*, again"):
        load_prompt("judge")


def test_the_identity_follows_the_text(tmp_path: Path) -> None:
    name = write(tmp_path, PARTS)
    before = prompt_identity(name)
    assert before["prompt_digest"] == load_prompt(name).digest
    load_prompt.cache_clear()
    write(tmp_path, {**PARTS, "again": "$reasons!"})
    after = prompt_identity(name)
    assert before["prompt_digest"] != after["prompt_digest"]
    assert {**before, "prompt_digest": ""} == {**after, "prompt_digest": ""}
    assert set(before) == {"prompt", "prompt_digest", "parser"}


def test_an_own_prompt_is_read_from_its_file(tmp_path: Path) -> None:
    name = write(tmp_path, {**PARTS, "question": "Is it $verb or $contrast_verb? $$1"})
    assert build_prompt(name, jumping(), CONTRAST, VOCABULARY).question == "Is it jumping or diving? $1"


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"system": "s"}, "needs exactly the parts system, shared, question, again"),
        ({**PARTS, "more": "m"}, "needs exactly the parts system, shared, question, again"),
        (["system"], "needs exactly the parts system, shared, question, again"),
        ({**PARTS, "shared": 3}, "shared must be text, not int"),
        (
            {**PARTS, "question": "$verbs"},
            r"question asks for \$verbs; it may ask for \$contrast_definition, ",
        ),
        ({**PARTS, "shared": "$verb"}, r"shared asks for \$verb; it may ask for none"),
        ({**PARTS, "question": "5 $ a day"}, r"question has a lone \$; write \$\$"),
    ],
)
def test_a_bad_prompt_file_says_what_is_wrong(tmp_path: Path, parts: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_prompt(write(tmp_path, parts))


def test_a_prompt_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(UserError, match=r"teacher\.prompt 'rationale': no such prompt; known are rationales"):
        load_prompt("rationale")
    with pytest.raises(UserError, match="no such prompt"):
        load_prompt("/no/where.yaml")


def test_broken_yaml_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("system: [")
    with pytest.raises(UserError, match="not readable as YAML"):
        load_prompt(str(path))


def test_the_schema_has_the_fields_in_order_and_nothing_else() -> None:
    schema = answer_schema(max_chars=99)
    assert schema["required"] == list(schema["properties"]) == [kind.field for kind in KINDS]
    assert schema["additionalProperties"] is False
    assert all(
        text == {"type": "string", "minLength": 1, "maxLength": 99} for text in schema["properties"].values()
    )
    assert answer_schema(KINDS[1:2])["required"] == ["negative_glimpse"]
