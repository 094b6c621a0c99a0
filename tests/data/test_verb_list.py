"""Lists of verbs as a person writes them: every form is read, every mistake is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cache.errors import UserError
from stages.data.verb_list import read_verb_list
from stages.data.vocabulary import VerbFrame

FORMS = {
    "long.yaml": "- verb: juggling\n  roles: [agent, tool]\n  definition: to keep balls in the air\n"
    "- verb: 寝る\n  roles: [誰]\n",
    "short.yaml": "- juggling: {roles: [agent, tool], definition: to keep balls in the air}\n- 寝る: [誰]\n",
    "mapping.yaml": "juggling: {roles: [agent, tool], definition: to keep balls in the air}\n寝る: [誰]\n",
    "list.json": '[{"verb": "juggling", "roles": ["agent", "tool"], '
    '"definition": "to keep balls in the air"}, {"寝る": ["誰"]}]',
    "space.json": json.dumps(
        {
            "verbs": {
                "juggling": {
                    "order": ["agent", "tool"],
                    "def": "to keep balls in the air",
                    "framenet": "",
                    "roles": {"tool": {}, "agent": {}},
                },
                "寝る": {"order": ["誰"], "abstract": ""},
            },
            "nouns": {},
        }
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_says_the_same(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(FORMS[name], encoding="utf-8")
    found = read_verb_list(path)
    assert found.verbs == ("juggling", "寝る")
    assert found.frames == {
        "juggling": VerbFrame(("agent", "tool"), "", "to keep balls in the air"),
        "寝る": VerbFrame(("誰",), "", ""),
    }
    assert found.roles == ("agent", "tool", "誰")
    assert found.nouns == ()


def test_the_published_file_is_read_with_its_sentences(shared_swig: Path) -> None:
    found = read_verb_list(shared_swig / "imsitu_space.json")
    assert len(found.verbs) == 504
    assert found.frames["jumping"].roles == ("agent", "source", "obstacle", "destination", "place")
    assert "AGENT" in found.frames["jumping"].template


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty file (0 bytes); expected a YAML list of verbs with their roles"),
        ("# nothing yet\n", "holds None; expected a YAML list of verbs with their roles"),
        ("[]", "names no verb; expected a YAML list"),
        ("- juggling\n", "entry 1 is 'juggling'; expected `juggling: [agent, tool, place]`"),
        (
            "- juggling: [a]\n- juggling: [b]\n",
            "the verb 'juggling' stands twice; the student compares",
        ),
        (
            "- bear-riding: [a]\n- Bear riding: [b]\n",
            "the verb 'Bear riding' stands twice, before as 'bear-riding'; the student compares texts",
        ),
        ("juggling: [a]\njuggling: [b]\n", "'juggling' stands twice; the second would hide the first"),
        ("- verb: x\n  roles: [a]\n  roles: [b]\n", "'roles' stands twice"),
        (
            "- juggling: []\n",
            "verb 'juggling' has no roles ([]); every verb needs 1 to 6, e.g. [agent,",
        ),
        ("- verb: juggling\n", "verb 'juggling' has no roles (None); every verb needs 1 to 6"),
        ("- juggling: [a, b, c, d, e, f, g]\n", "verb 'juggling' has 7 roles; at most 6 fit"),
        ("- juggling: [agent, Agent]\n", "the role 'Agent' stands twice, before as 'agent'"),
        ("- juggling: ['  ']\n", "a role of the verb 'juggling' is '', which has no letter"),
        ("- juggling: ['!?']\n", "a role of the verb 'juggling' is '!?', which has no letter"),
        ("- juggling: [on]\n", "a role of the verb 'juggling' is True, which YAML takes for no text; put it"),
        ("- 7: [agent]\n", "a verb is 7, which YAML takes for no text; put it in quotes"),
        ("- juggling: agent\n", "verb 'juggling' has 'agent'; expected its roles, e.g. [agent, tool, place]"),
        (
            "- verb: x\n  roles: [a]\n  definiton: y\n",
            "verb 'x': unknown key 'definiton'; the nearest known is 'definition'; known: roles, definition",
        ),
        (
            "- verb: x\n  roles: [a]\n  definition: [y]\n",
            "verb 'x': definition is ['y']; expected a",
        ),
        ('- "a\\nb": [agent]\n', "a verb is 'a\\nb', 3 letters; expected one line of at most 100 printable"),
        (f"- {'a' * 101}: [agent]\n", "101 letters; expected one line of at most 100 printable letters"),
        ("- juggling: [agent\n", "line 2: not YAML"),
        ("- ? [a]\n  : [agent]\n", "not YAML"),
        ("42", "holds 42; expected a YAML list of verbs"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "verbs.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_verb_list(path)
    assert message in str(caught.value)
    assert "verbs.yaml" in str(caught.value)


def test_verbs_and_roles_of_any_script_are_taken_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "verbs.yaml"
    path.write_text("- 曲芸: [演者, 道具]\n- jongler-à-vélo: [pièce]\n", encoding="utf-8")
    read = read_verb_list(path)
    assert read.verbs == ("曲芸", "jongler-à-vélo")
    assert read.frames["曲芸"].roles == ("演者", "道具")


def test_a_missing_file_and_broken_json_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.yaml: cannot be read \(No such file or directory\)"):
        read_verb_list(tmp_path / "none.yaml")
    (tmp_path / "bad.json").write_text('{"verbs": ')
    with pytest.raises(UserError, match=r"bad\.json, line 1, column 11: not JSON"):
        read_verb_list(tmp_path / "bad.json")
