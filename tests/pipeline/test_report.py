"""`mipd-pipe inspect report`: what the page says, and that nothing a model wrote can act in it."""

from __future__ import annotations

import base64
import io
import json
import random
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cache.errors import UserError
from cache.kinds import KINDS
from cache.paths import StorePaths
from cache.rationales import append_rationales
from pipeline.config import Config
from pipeline.report.choice import choose
from pipeline.report.page import script_json
from pipeline.report.plots import histogram
from pipeline.report.report import write_report
from pipeline.report.thumbnails import thumbnails
from pipeline.workspace import Workspace
from tests.cache.small_store import PRODUCER, four, row
from tests.pipeline.hostile_store import HOSTILE, SHOWN, kind_of, report_of, write_hostile_store

Make = Callable[..., Config]


class Report(NamedTuple):
    """A written page: its text, the data in it, and the two images somebody tampered with."""

    config: Config
    text: str
    data: dict[str, Any]
    hostile: str
    failed: str

    def picture(self, image: str) -> dict[str, Any]:
        (found,) = (p for p in self.data["pictures"] if p["image"] == image)
        assert isinstance(found, dict)
        return found


def data_in(text: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    data = json.loads(found[1])
    assert isinstance(data, dict)
    return data


def thumbnails_in(text: str) -> list[str]:
    blocks = re.findall(r'<script type="application/json" id="thumbnails-\d+">(.*?)</script>', text)
    return [url for block in blocks for url in json.loads(block)]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, small_config: Make) -> Report:
    config = small_config(tmp_path_factory.mktemp("report") / "run")
    hostile, failed = write_hostile_store(config)
    write_report(Workspace(config))
    text = report_of(config).read_text(encoding="utf-8")
    return Report(config, text, data_in(text), hostile, failed)


class Elements(HTMLParser):
    """Start tags with their attributes, as a browser would see them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_page_needs_nothing_from_outside(report: Report) -> None:
    for tag, attributes in Elements(report.text).found:
        assert tag not in ("link", "iframe", "object", "embed", "base", "img"), tag
        assert not {"src", "srcset", "style"} & attributes.keys(), (tag, attributes)
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
        assert attributes.get("href", "#").startswith("#")  # type: ignore[union-attr]
    assert "http://" not in report.text.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in report.text


def test_only_the_pages_own_script_may_run(report: Report) -> None:
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', report.text)
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "require-trusted-types-for 'script'" in policy
    scripts = [attributes for tag, attributes in Elements(report.text).found if tag == "script"]
    assert [s.get("type") for s in scripts if s.get("type") != "application/json"] == [None]


def test_what_a_model_wrote_is_shown_and_never_markup(report: Report) -> None:
    positive = kind_of(report.picture(report.hostile), KINDS[0])
    assert [a["text"] for a in positive["attempts"]] == [
        f"a rejected first try {SHOWN}",
        f"an accepted second try {SHOWN}",
    ]
    assert positive["attempts"][0]["reason"].endswith(SHOWN)
    assert report.picture(report.failed)["failures"][0]["raw"] == f"raw {SHOWN}"
    assert "window.pwned=1</script>" not in report.text
    assert "<img src=x" not in report.text
    assert "<svg onload" not in report.text
    assert not set(report.text) & set("\x1b\x9b\x00\u202e\u2028\u2029")
    assert "&lt;script&gt;window.pwned=1" in report.text, "the reason stands among the figures too"


@given(st.text())
def test_json_in_a_script_element_keeps_every_text_and_never_ends_it(text: str) -> None:
    written = script_json({"text": text})
    assert json.loads(written)["text"] == text
    assert not set(written) & set("<>&\u2028\u2029")


def test_a_picture_has_its_roles_attempts_and_verdicts(report: Report) -> None:
    sample = next(s for s in Workspace(report.config).data.samples if s.image == report.hostile)
    picture = report.picture(report.hostile)
    assert (picture["verb"], picture["split"], picture["width"]) == (sample.verb, "train", sample.width)
    assert [role["role"] for role in picture["roles"]] == list(sample.roles)
    assert [role["box"] for role in picture["roles"]] == [b and list(b) for b in sample.boxes]
    gloss = Workspace(report.config).data.vocabulary.gloss
    assert picture["roles"][0]["nouns"] == [noun and gloss(noun) for noun in sample.nouns[0]]
    told = [
        [(a["number"], a["status"], a["usable"], a["score"]) for a in kind["attempts"]]
        for kind in picture["rationales"]
    ]
    assert told == [
        [(1, "rejected", False, 2), (2, "accepted", True, 4)],
        [(1, "accepted", True, 3)],
        [(1, "accepted", True, 5)],
        [(1, "rejected", False, 2)],
    ]


def test_the_newest_version_alone_is_shown_and_older_rows_are_counted(report: Report) -> None:
    texts = [a["text"] for kind in report.picture(report.hostile)["rationales"] for a in kind["attempts"]]
    assert len(texts) == 5
    assert "4 rows of earlier versions" in report.text


def test_neighbours_are_other_pictures_nearest_first(report: Report) -> None:
    known = {picture["image"] for picture in report.data["pictures"]}
    for picture in report.data["pictures"]:
        if picture["image"] == report.failed:
            assert picture["near"] == []
            continue
        near = picture["near"]
        assert len(near) == 6
        assert picture["image"] not in {other["image"] for other in near}
        assert {other["image"] for other in near} <= known
        assert [n["similarity"] for n in near] == sorted((n["similarity"] for n in near), reverse=True)
    assert report.data["notes"] == []


def test_a_failed_picture_is_in_the_gallery_and_says_why_it_cannot_be_shown(report: Report) -> None:
    number = [picture["image"] for picture in report.data["pictures"]].index(report.failed)
    assert thumbnails_in(report.text)[number] == ""
    assert report.data["missing"][str(number)].startswith("missing: there is no such file")
    picture = report.picture(report.failed)
    assert (picture["rationales"], picture["roles"], picture["width"]) == ([], [], 0)
    assert (picture["failures"][0]["attempts"], picture["failures"][0]["resolved"]) == (3, False)


def test_the_figures_are_those_of_the_store(report: Report) -> None:
    pictures = len([p for p in report.data["pictures"] if p["rationales"]])
    assert f"<b>{pictures}</b><span>pictures with rationales</span>" in report.text
    assert f"<b>{4 * pictures - 1}</b><span>rationales accepted</span>" in report.text
    assert "<b>2</b><span>attempts rejected</span>" in report.text
    assert "<b>1</b><span>pictures failed</span>" in report.text
    assert "<b>3.20</b><span>mean score of 5</span><small>5 judged" in report.text  # 2, 4, 3, 5, 2


def test_an_answer_that_holds_several_rationales_counts_its_tokens_once(
    tmp_path: Path, small_config: Make
) -> None:
    config = small_config(tmp_path / "run")
    append_rationales(StorePaths(config.store), four("a.jpg", tokens_in=100, tokens_out=50), PRODUCER)
    write_report(Workspace(config))
    text = report_of(config).read_text(encoding="utf-8")
    assert "<b>50</b><span>tokens written</span><small>100 read</small>" in text


def test_a_limit_is_obeyed_and_said_and_spread_over_verbs(report: Report, tmp_path: Path) -> None:
    out = tmp_path / "few" / "page.html"
    result = write_report(Workspace(report.config), out, limit=12)
    pictures = data_in(out.read_text(encoding="utf-8"))["pictures"]
    assert result.data["pictures"] == len(pictures) == 12
    assert f"12 of {len(report.data['pictures'])} pictures" in result.text
    assert all(picture["rationales"] or picture["failures"] for picture in pictures)
    assert len({picture["verb"] for picture in pictures}) == 12


def test_the_same_store_gives_the_same_page(report: Report, tmp_path: Path) -> None:
    write_report(Workspace(report.config), tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == report_of(report.config).read_bytes()


def test_a_store_without_banks_does_without_neighbours_and_says_so(
    tmp_path: Path, small_config: Make
) -> None:
    config = small_config(tmp_path / "run")
    append_rationales(StorePaths(config.store), four("a.jpg"), PRODUCER)
    result = write_report(Workspace(config))
    assert "note: nearest pictures are left out: the store has no pooled vectors yet" in result.text
    text = report_of(config).read_text(encoding="utf-8")
    assert [note.split(" are ")[0] for note in data_in(text)["notes"]] == [
        "nearest pictures",
        "nearest texts",
    ]
    assert "No banks yet" in text


def test_an_index_that_does_not_fit_its_vectors_is_left_out_and_named(report: Report, tmp_path: Path) -> None:
    shutil.copytree(report.config.run_dir, tmp_path / "run")
    config = report.config.model_copy(update={"run_dir": tmp_path / "run"})
    for index in (tmp_path / "run" / "store" / "index").glob("pictures-*.faiss"):
        index.unlink()
    result = write_report(Workspace(config))
    assert "note: nearest pictures are left out: " in result.text
    assert "is listed but missing; run `mipd-pipe embed-teacher`" in result.text
    assert data_in(report_of(config).read_text(encoding="utf-8"))["pictures"][0]["rationales"][0]["near"]


def test_a_store_of_failures_alone_has_a_page(tmp_path: Path, small_config: Make) -> None:
    config = small_config(tmp_path / "run")
    only = row("a.jpg", status="rejected", reason="too short", attempt=2)
    append_rationales(StorePaths(config.store), [only], PRODUCER)
    write_report(Workspace(config))
    text = report_of(config).read_text(encoding="utf-8")
    assert "<b>0</b><span>rationales accepted</span><small>0.0 % of 4 wanted" in text
    assert [len(kind["attempts"]) for kind in data_in(text)["pictures"][0]["rationales"]] == [1, 0, 0, 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"limit": -1}, "--limit -1 is below 0; give a number of pictures, or 0 for all"),
        ({"thumbnail": 8}, "--thumbnail 8 is not from 32 to 2048 pixels"),
    ],
)
def test_arguments_that_cannot_be_obeyed_are_refused(
    report: Report, arguments: dict[str, int], message: str
) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        write_report(Workspace(report.config), **arguments)  # type: ignore[arg-type]


def test_a_folder_is_no_place_for_a_page(report: Report, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=re.escape(f"--out {tmp_path} is a folder; name a file, e.g.")):
        write_report(Workspace(report.config), tmp_path)


def test_without_a_store_there_is_no_page(tmp_path: Path, small_config: Make) -> None:
    config = small_config(tmp_path / "run")
    with pytest.raises(UserError, match="no store at"):
        write_report(Workspace(config))
    assert not report_of(config).exists()


def test_thumbnails_are_of_the_best_quality_that_fits(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 600, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")

    def length(bytes_each: int) -> int:
        (one,) = thumbnails([tmp_path / "noise.png"], 200, bytes_each, 10**6)
        return len(one.url)

    best, worst = length(10**6), length(1)
    assert worst < 0.6 * best
    assert worst < length((worst + best) // 2) <= (worst + best) // 2, "there is something between"


def test_thumbnails_are_in_order_and_say_what_is_missing(tmp_path: Path) -> None:
    paths = [tmp_path / f"{n}.png" for n in range(100)]
    for n, path in enumerate(paths):
        if n != 70:
            Image.new("L", (128, 96), n * 37 % 251).save(path)
    made = list(thumbnails(paths, 64, 10**6, 10**6))
    assert [one.missing[:8] for one in made] == ["missing:" if n == 70 else "" for n in range(100)]
    for n, one in enumerate(made):
        if one.url:
            small = Image.open(io.BytesIO(base64.b64decode(one.url.split(",")[1])))
            assert small.size == (64, 48)
            assert np.asarray(small).mean() == pytest.approx(n * 37 % 251, abs=4)


IMAGES = st.dictionaries(st.text(min_size=1, max_size=4), st.sampled_from("abc"), max_size=30)


@given(IMAGES, st.integers(1, 40), st.randoms(use_true_random=False))
def test_pictures_are_chosen_alike_in_any_order_and_evenly(
    verbs: dict[str, str], limit: int, shuffle: random.Random
) -> None:
    names = list(verbs)
    first = frozenset(names[::2])
    chosen = choose(verbs, first, limit)
    shuffle.shuffle(names)
    assert choose({name: verbs[name] for name in names}, first, limit) == chosen
    assert len(set(chosen)) == len(chosen) == min(limit, len(verbs))
    taken = [image for image in chosen if image in first]
    assert chosen[: len(taken)] == taken, "what matters most comes first"
    for left in first - set(taken):
        count = sum(verbs[image] == verbs[left] for image in taken)
        others = [sum(verbs[image] == verb for image in taken) for verb in set(verbs.values())]
        assert count >= max(others) - 1, "no verb waits while another gives twice as often"


def test_every_value_is_in_a_bar_of_a_histogram() -> None:
    values = [7, 7, 8, 31, 102]
    counts = [
        int(n) for n in re.findall(r"<title>\d+ to \d+ words: (\d+)</title>", histogram("L", values, "words"))
    ]
    assert sum(counts) == len(values)
    assert "5 values from 7 to 102 words, median 8" in histogram("L", values, "words")
    assert "<title>7 words: 2</title>" in histogram("L", [7, 7, 8], "words")


def test_a_title_of_a_plot_is_escaped() -> None:
    assert HOSTILE not in histogram(HOSTILE, [1], "words")
    assert "<script>" not in histogram(HOSTILE, [1], HOSTILE)
