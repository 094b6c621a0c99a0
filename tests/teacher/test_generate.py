"""A whole call of `generate-rationales`: what is asked, what is written, what is left."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cache.errors import FindingsError, MachineError, UserError
from cache.kinds import KINDS
from cache.order import shard_of
from cache.paths import StorePaths
from cache.rationales import VOLATILE, read_quarantine, read_rationales
from cache.verify import verify
from pipeline.config import Config
from pipeline.stage_one import build_generator
from pipeline.workspace import Workspace
from stages.teacher.asking.shard import Shard
from stages.teacher.engines.engine import Answer, Engines, FinishReason, Request
from stages.teacher.engines.template import TemplateEngine
from stages.teacher.generate import GenerateSummary, Generator
from tests.teacher.faulty_engine import Fault, FaultyEngine


class Call:
    """Calls over one run folder, each with a new engine; `asked` and `judged` are those of the last call."""

    def __init__(self, folder: Path, small_config: Callable[..., Config]) -> None:
        self._folder, self._small_config = folder, small_config
        self.store = StorePaths(folder / "store")
        self.asked: list[Request] = []
        self.judged: list[Request] = []

    def __call__(
        self,
        *settings: str,
        fault: Fault = lambda request: None,
        judge: Fault | None = None,
        shard: Shard | None = None,
        rate: float = 1.0,
        **run: Any,
    ) -> GenerateSummary:
        workspace = Workspace(self._small_config(self._folder, *settings))
        writer = FaultyEngine(workspace.data.vocabulary, fault)
        judging = FaultyEngine(workspace.data.vocabulary, judge) if judge else None
        self.asked, self.judged = writer.asked, judging.asked if judging else []
        return build_generator(workspace, Engines(writer, judging), shard or Shard()).run(rate, **run)

    def rows(self) -> pl.DataFrame:
        rows = read_rationales(self.store).drop(*VOLATILE)
        return rows.sort("image", "attempt", "aspect", "polarity")

    def workspace(self) -> Workspace:
        return Workspace(self._small_config(self._folder))

    def template(self) -> TemplateEngine:
        return TemplateEngine(Workspace(self._small_config(self._folder)).data.vocabulary)


def generator_of(call: Call, clock: Callable[[], float]) -> Generator:
    """A generator over the call's run folder that reads another clock."""
    workspace = call.workspace()
    engines = Engines(FaultyEngine(workspace.data.vocabulary))
    generator = build_generator(workspace, engines, Shard())
    generator._clock = clock
    return generator


@pytest.fixture
def call(tmp_path: Path, small_config: Callable[..., Config]) -> Call:
    return Call(tmp_path / "run", small_config)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, small_config: Callable[..., Config]) -> Call:
    call = Call(tmp_path_factory.mktemp("undisturbed"), small_config)
    call()
    return call


def every(number: int, text: str, reason: FinishReason = "stop") -> Fault:
    """Spoils every so manyth answer."""
    counter = itertools.count(1)

    def fault(request: Request) -> Answer | None:
        return None if next(counter) % number else Answer(request.key, text, reason, error="spoilt")

    return fault


def about_every(number: int, text: str, reason: FinishReason) -> Fault:
    """Spoils all answers about every so manyth picture."""
    counter = itertools.count(1)
    numbers: dict[str, int] = {}

    def fault(request: Request) -> Answer | None:
        place = numbers.setdefault(request.sample.image, next(counter))
        return None if place % number else Answer(request.key, text, reason, error="spoilt")

    return fault


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Here you are: a man.", "stop"),
        (" \n" * 3000, "stop"),
        ('{"positive_glimpse": "and on and on', "length"),
        ("", "error"),
        ('{"positive_glimpse": "\u001b[31m' + '", "negative_glimpse": "", ' * 9, "stop"),
    ],
)
def test_a_bad_answer_costs_no_other_row(
    call: Call, undisturbed: Call, text: str, reason: FinishReason
) -> None:
    summary = call("teacher.judge.max_attempts=1", fault=about_every(5, text, reason))
    assert summary.failed >= summary.asked // 6 > 0
    failures = read_quarantine(call.store)
    assert failures.height == summary.failed
    assert set(failures["raw"]) == {text}
    good = undisturbed.rows().filter(~pl.col("image").is_in(failures["image"].implode()))
    assert call.rows().equals(good)


def test_what_failed_is_asked_again_only_when_that_is_wanted(call: Call, undisturbed: Call) -> None:
    first = call(fault=every(10, "", "error"))
    assert first.failed > 3
    second = call()
    assert (second.asked, second.failed) == (0, first.failed)
    assert call.asked == []
    third = call(retry_failed=True)
    assert (third.asked, third.failed) == (first.failed, 0)
    rows = call.rows().filter("usable")
    assert set(rows["image"]) == set(undisturbed.rows()["image"])
    assert set(rows.group_by("image").len()["len"]) == {4}
    assert call(retry_failed=True).asked == 0


def test_a_failure_that_stays_counts_its_attempts(call: Call) -> None:
    call("teacher.give_up_after=0", fault=every(1, "", "error"))
    call("teacher.give_up_after=0", fault=every(1, "", "error"), retry_failed=True)
    assert set(read_quarantine(call.store)["attempts"]) == {2}


def test_a_raised_bound_asks_only_for_what_is_still_rejected(call: Call) -> None:
    template = call.template()

    def short(request: Request) -> Answer:
        texts = json.loads(next(template.answer([request])).text)
        texts |= {name: "Too short." for name in texts if "gaze" in name}
        return Answer(request.key, json.dumps(texts), "stop")

    call("teacher.judge.max_attempts=1", fault=short)
    before = call.rows()
    call("teacher.judge.max_attempts=2")
    wanted = {tuple(request.schema["properties"]) for request in call.asked}
    assert wanted == {("positive_gaze", "negative_gaze")}
    rows = call.rows()
    assert rows.filter(pl.col("attempt") == 0).equals(before)
    assert rows.filter("usable").height == 4 * rows["image"].n_unique()


def test_what_is_rejected_again_hides_nothing_that_was_accepted(call: Call) -> None:
    """Neither from the rate of failures, nor from what shows whether the teacher does its work."""

    def short(request: Request) -> Answer:
        texts = json.loads(next(template.answer([request])).text)
        texts |= {name: "Too short." for name in texts if "gaze" in name}
        return Answer(request.key, json.dumps(texts), "stop")

    template = call.template()
    call("teacher.judge.max_attempts=1", fault=short)
    again = call("teacher.judge.max_attempts=2", "teacher.give_up_after=5", fault=short, rate=0.0)
    assert again.asked > 5
    assert (again.rationales_accepted, again.empty, again.failed) == (0, 0, 0)


def test_what_was_lost_at_the_last_attempt_is_asked_again_when_that_is_wanted(call: Call) -> None:
    def one(request: Request) -> Answer | None:
        if request.schema["properties"].keys() == {"positive_gaze"}:
            return Answer(request.key, "", "error", error="no memory")
        return None

    separate = ("teacher.requests=separate", "teacher.judge.max_attempts=1")
    first = call(*separate, fault=one)
    assert read_quarantine(call.store).height == first.asked
    assert call(*separate).asked == 0
    assert call(*separate, retry_failed=True).asked == first.asked
    assert {tuple(request.schema["properties"]) for request in call.asked} == {("positive_gaze",)}
    assert call.rows().filter("usable").height == 4 * first.asked
    assert call(*separate, retry_failed=True).asked == 0


def test_pictures_without_an_accepted_rationale_count_as_failures(call: Call) -> None:
    bad = json.dumps({kind.field: "Too short." for kind in KINDS})
    with pytest.raises(FindingsError) as caught:
        call("teacher.judge.max_attempts=1", fault=every(4, bad), rate=0.05)
    assert str(caught.value).startswith("0 of ")
    assert "have no accepted rationale" in str(caught.value)
    with pytest.raises(FindingsError, match="have no accepted rationale"):
        call("teacher.judge.max_attempts=1", rate=0.05)
    assert call.asked == [], "a second call has nothing to ask, and says the same"


def test_a_teacher_that_does_not_do_its_work_is_given_up_early(call: Call) -> None:
    with pytest.raises(FindingsError, match="the first 10 pictures gave not one accepted rationale"):
        call("teacher.give_up_after=10", "teacher.judge.max_attempts=1", fault=every(1, "no"))
    assert 10 <= len(call.asked) < 20
    assert read_quarantine(call.store).height == 10, "what was answered is kept"


def test_the_budget_begins_no_picture_after_its_end(call: Call, undisturbed: Call) -> None:
    summary = call(budget_hours=0.0)
    assert (summary.asked, summary.left) == (0, undisturbed.rows()["image"].n_unique())
    assert call(budget_hours=1.0).left == 0
    assert call.rows().equals(undisturbed.rows())


def test_a_budget_of_nothing_loads_no_model(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    summary = call("teacher.engine=vllm", "teacher.vllm.model=.", budget_hours=0.0)
    assert (summary.asked, len(call.asked)) == (0, 0), "not even a trial request"
    assert f"the budget of 0 hours is used up: {summary.left} pictures left to ask; what is" in (
        capsys.readouterr().err
    )


def test_a_budget_that_is_used_up_says_what_is_left(
    call: Call, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each look at the clock takes ten seconds."""
    ticks = itertools.count(0, 10)
    monkeypatch.setattr("time.monotonic", lambda: float(next(ticks)))
    generate = generator_of(call, clock=lambda: float(next(ticks)))
    summary = generate.run(1.0, budget_hours=0.1)
    assert summary.asked > 0
    assert summary.left > 0
    hours = summary.left * summary.seconds / summary.asked / 3600
    said = capsys.readouterr().err
    assert (
        f"{summary.left} pictures left to ask, about {hours:.2g} hours of the like; what is finished" in said
    )
    assert "Run the same command again to go on; `mipd-pipe plan` tells what it takes" in said


def test_many_rejections_are_told_of_at_the_end_with_their_reasons(
    call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = call("teacher.judge.min_words=100", "teacher.judge.max_attempts=1", "teacher.give_up_after=0")
    said = capsys.readouterr().err
    written = summary.rationales_rejected
    assert f"warning: {written} of {written} rationales were rejected (100%), mostly because: " in said
    (reason, count), *_ = summary.rejected_because.items()
    assert f"{count} x {reason}" in said
    assert len(summary.rejected_because) == 3
    assert list(summary.rejected_because.values()) == sorted(summary.rejected_because.values())[::-1]


def test_few_rejections_are_not(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    summary = call(fault=every(3, json.dumps({kind.field: "" for kind in KINDS})))
    assert summary.rationales_rejected
    assert "warning" not in capsys.readouterr().err


def test_the_shards_of_a_job_array_make_one_store(call: Call, undisturbed: Call) -> None:
    """Three workers, of which one stops early; then five take over what it left."""
    summaries = [call(shard=Shard(number, 3)) for number in (2, 0)]
    summaries.append(call(shard=Shard(1, 3), budget_hours=0.0))
    assert summaries[-1].left > 0
    summaries += [call(shard=Shard(number, 5)) for number in (4, 1, 0, 2, 3)]
    assert call.rows().equals(undisturbed.rows())
    assert sum(summary.asked for summary in summaries) == undisturbed.rows()["image"].n_unique()
    assert verify(call.store) == []
    assert call().asked == 0


def test_a_shard_with_other_settings_than_a_living_one_is_refused_by_name(call: Call) -> None:
    refused: list[str] = []

    def start_another(request: Request) -> None:
        if not refused:
            asked = call.asked
            with pytest.raises(UserError) as reason:
                call("teacher.seed=7", "teacher.judge.min_words=4", shard=Shard(1, 2))
            refused.append(str(reason.value))
            call(shard=Shard(1, 2))  # the same settings go on beside it
            call.asked = asked

    call(shard=Shard(0, 2), fault=start_another)
    (message,) = refused
    assert "is being written by `generate-rationales` (process" in message
    assert "as shard 0/2 with other settings, so rows of two kinds would mix:" in message
    changed = [line.split(":")[0].strip() for line in message.splitlines()[1:-1]]
    assert changed == ["contrasts.fingerprint", "rules.min_words", "seed"]
    assert "\n  seed: 0 -> 7\n" in message
    assert message.endswith("Give all shards the same settings, or wait for that one to end")
    call("teacher.seed=7", shard=Shard(1, 2))  # it has ended: the change asks again, as ever


def test_a_shard_without_any_picture_has_nothing_to_do(call: Call, undisturbed: Call) -> None:
    shards = 4 * undisturbed.rows()["image"].n_unique()
    owners = {shard_of(image, shards) for image in undisturbed.rows()["image"]}
    empty = next(number for number in range(shards) if number not in owners)
    assert call(shard=Shard(empty, shards), rate=0.0).asked == 0


def test_an_engine_that_dies_loses_nothing_that_is_finished(call: Call, undisturbed: Call) -> None:
    counter = itertools.count(1)

    def dies(request: Request) -> None:
        if next(counter) == 50:
            raise MachineError("the engine died")

    with pytest.raises(MachineError):
        call(fault=dies)
    finished = set(call.rows()["image"])
    assert len(finished) == 49
    assert verify(call.store) == []
    call()
    assert finished.isdisjoint(request.sample.image for request in call.asked)
    assert call.rows().equals(undisturbed.rows())


def test_a_changed_prompt_is_announced_and_the_older_rows_stay(call: Call, tmp_path: Path) -> None:
    call()
    before = call.rows()
    shipped = Path("stages/teacher/asking/prompts/rationales.yaml").read_text()
    (tmp_path / "mine.yaml").write_text(shipped.replace("plain English", "simple English"))
    summary = call(f"teacher.prompt={tmp_path / 'mine.yaml'}")
    assert summary.changed == summary.asked == before["image"].n_unique()
    old = call.rows().filter(~pl.col("current"))
    assert old.drop("current", "usable").equals(before.drop("current", "usable"))
    assert call().asked == 0, "going back to the first prompt asks for nothing"


def verdicts(request: Request, accept: bool) -> Answer:
    given = {"reason": "no man is to be seen", "score": 5 if accept else 1}
    verdict = given | {"verdict": "accept" if accept else "reject"}
    return Answer(request.key, json.dumps({kind.field: verdict for kind in request.judged}), "stop")


def test_the_judge_sees_what_the_rules_let_pass_and_its_reason_is_told(call: Call) -> None:
    seen = set[str]()

    def judge(request: Request) -> Answer:
        known = request.sample.image in seen
        seen.add(request.sample.image)
        return verdicts(request, accept=known)

    summary = call("teacher.judge.by=template", "teacher.judge.pictures_at_once=7", judge=judge)
    rows = call.rows()
    first, second = (rows.filter(pl.col("attempt") == attempt) for attempt in (0, 1))
    assert (set(first["status"]), set(first["score"])) == ({"rejected"}, {1})
    assert (set(second["status"]), set(second["score"])) == ({"accepted"}, {5})
    assert first.height == second.height == 4 * summary.asked
    assert all("+template" in judge for judge in rows["judge"])
    again = [request for request in call.asked if "rejected" in request.prompt.question]
    assert len(again) == summary.asked
    assert all("no man is to be seen" in request.prompt.question for request in again)
    assert all(len(request.judged) == 4 for request in call.judged)


def test_a_verdict_that_cannot_be_read_is_asked_for_again_and_then_given_up(call: Call) -> None:
    summary = call(
        "teacher.judge.by=template",
        "teacher.judge.retries=1",
        "teacher.give_up_after=0",
        judge=lambda request: Answer(request.key, "I like it.", "stop"),
    )
    assert len(call.judged) == 2 * summary.asked
    assert len(call.asked) == summary.asked, "a text that nobody judged is not written anew"
    rows = call.rows()
    assert set(rows["status"]) == {"rejected"}
    assert all(reason.startswith("the judge gave no verdict: not JSON") for reason in rows["reason"])
    assert set(read_quarantine(call.store)["raw"]) == {"I like it."}
    call("teacher.judge.by=template", judge=lambda request: verdicts(request, True), retry_failed=True)
    assert call.rows().filter("usable").height == 4 * summary.asked


def test_asked_one_by_one_a_picture_has_the_same_kinds_of_rows(call: Call) -> None:
    summary = call("teacher.requests=separate")
    assert len(call.asked) == 4 * summary.asked
    assert call.rows().filter("usable").height == 4 * summary.asked


def test_the_rules_alone_and_a_judging_model_are_different_rows(call: Call) -> None:
    asked = call().asked
    changed = call("teacher.judge.by=template", judge=lambda request: verdicts(request, True))
    assert changed.changed == asked
    assert call("teacher.judge.retries=9").asked == 0, "bounds decide no row"


def test_the_model_that_writes_may_judge_in_the_same_stream(call: Call) -> None:
    """Settings of a language model, so it is tried with a canary first."""

    def obedient(request: Request) -> Answer | None:
        if "seal" in request.schema["properties"]:
            return Answer(request.key, '{"seal": "wren"}', "stop")
        return None

    own = ("teacher.engine=server", "teacher.server.model=m", "teacher.judge.by=teacher")
    summary = call(*own, fault=obedient)
    canary, *rest = call.asked
    assert "seal" in canary.schema["properties"]
    written = [request for request in rest if not request.judged]
    judged = [request for request in rest if request.judged]
    assert len(judged) >= summary.asked
    assert rest.index(judged[0]) < len(rest) - len(judged), "verdicts are asked for while texts are written"
    assert summary.requests == len(written) + len(judged)
    rows = call.rows()
    assert rows.filter("usable").height > 0
    assert all("+template@" in judge for judge in rows.filter(pl.col("score").is_not_null())["judge"])
    assert call(*own).asked == 0, "a finished store needs no canary and no verdict"
    assert call.asked == []


def test_an_engine_that_ignores_schemas_is_refused_before_the_work(call: Call) -> None:
    with pytest.raises(UserError, match="the teacher does not hold its answers to a JSON schema"):
        call("teacher.engine=server", "teacher.server.model=m")
    assert len(call.asked) == 1
    assert read_rationales(call.store).is_empty()


def test_pictures_that_failed_before_are_no_trial_of_an_engine(call: Call) -> None:
    """Were they, three hopeless ones would keep all the others from being asked."""
    hopeless = set[str]()

    def fault(request: Request) -> Answer | None:
        if len(hopeless) < 3 and "seal" not in request.schema["properties"]:
            hopeless.add(request.sample.image)
        if request.sample.image in hopeless:
            return Answer(request.key, "", "error", error="too large")
        if "seal" in request.schema["properties"]:
            return Answer(request.key, '{"seal": "wren"}', "stop")
        return None

    model = ("teacher.engine=server", "teacher.server.model=m")
    first = call(*model, fault=fault)
    assert first.failed == len(hopeless) == 3
    again = call(*model, fault=fault, retry_failed=True)
    assert (again.asked, again.failed) == (3, 3)
    assert set(read_quarantine(call.store)["attempts"]) == {2}
