"""The forecast: what is left, what it takes, what will not fit; and that looking spends nothing."""

from __future__ import annotations

import json
import shutil
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.bank_header import BankHeader
from cache.kinds import KINDS
from cache.manifest import load_manifest
from cache.order import in_shard
from cache.paths import StorePaths
from cache.rationales import RationaleRow, append_rationales
from pipeline import plan as planning
from pipeline import stage_one
from pipeline.bench.tiny_vlm import build_tiny_vlm
from pipeline.config import Config, dump_config
from pipeline.forecast.disk import bank_bytes
from pipeline.forecast.experience import read_experience
from pipeline.forecast.hours import rate_of_calls, rate_of_probe
from pipeline.forecast.memory import cache_bytes_per_token, weight_bytes
from pipeline.forecast.probe import probe_shard
from pipeline.forecast.spread import Spread, total
from pipeline.forecast.text import plan_text
from pipeline.machine import Disk, Gpu, Machine
from pipeline.result import Result
from pipeline.workspace import Workspace
from stages.teacher.settings import ServerSettings, TeacherSettings, VllmSettings
from tests.pipeline.test_cli import Shell
from tests.teacher.scripted_server import Call, ScriptedServer

GIB = 1 << 30
RAM = Machine("a CPU", 8, 64 * GIB, 60 * GIB, ())


def gpus(*free: int, memory: int = 80 * GIB) -> Machine:
    return Machine("a CPU", 8, 64 * GIB, 60 * GIB, tuple(Gpu("H100", memory, f, "570") for f in free))


def forecast(config: Config, **options: Any) -> dict[str, Any]:
    result = planning.plan(Workspace(config), **{"machine": RAM, **options})
    data: dict[str, Any] = json.loads(result.json_text())
    return data


def result_of(config: Config, machine: Machine = RAM) -> Result:
    return planning.plan(Workspace(config), machine=machine)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def bytes_on_disk(paths: StorePaths, kind: str, name: str) -> int:
    return sum(part.bytes for part in load_manifest(paths).parts if (part.kind, part.name) == (kind, name))


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    monkeypatch.delenv("MIPD_CONFIG", raising=False)
    return Shell(monkeypatch, capsys)


@pytest.fixture(scope="module")
def fresh(
    tmp_path_factory: pytest.TempPathFactory, small_config: Callable[..., Config]
) -> tuple[Config, dict[str, Any]]:
    """A run that has not begun, and its forecast."""
    config = small_config(tmp_path_factory.mktemp("fresh") / "run")
    return config, forecast(config)


@pytest.fixture(scope="module")
def done(
    tmp_path_factory: pytest.TempPathFactory, small_config: Callable[..., Config]
) -> tuple[Config, dict[str, Any]]:
    """A finished stage one, and the forecast made before it."""
    config = small_config(tmp_path_factory.mktemp("done") / "run")
    before = forecast(config)
    stage_one.generate_rationales(Workspace(config))
    stage_one.embed_teacher(Workspace(config))
    return config, before


@pytest.fixture(scope="module")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_vlm(tmp_path_factory.mktemp("chat") / "model")


# --- what is left ----------------------------------------------------------------------------------


def test_before_the_first_call_everything_is_left(fresh: tuple[Config, dict[str, Any]]) -> None:
    config, data = fresh
    training = len(Workspace(config).data.split("train"))
    assert data["pictures"]["training"] == data["pictures"]["to_ask"] == training
    writing = data["requests"]["writing"]
    assert (writing["low"], writing["likely"], writing["high"]) == (training, None, 3 * training)
    assert data["requests"]["basis"] == "assumed: 1 to 3 attempts a picture"
    assert data["requests"]["judging"]["high"] == 0
    assert data["hours"] is None


def test_looking_writes_nothing_into_the_store(fresh: tuple[Config, dict[str, Any]]) -> None:
    config, _ = fresh
    assert not config.store.exists()
    assert not (config.run_dir / "events.jsonl").exists()


def test_after_the_last_call_nothing_is_left_and_nothing_changes(done: tuple[Config, dict[str, Any]]) -> None:
    config, _ = done
    before = files_of(config.store)
    data = forecast(config)
    assert files_of(config.store) == before
    assert data["pictures"]["to_ask"] == 0
    assert data["pictures"]["finished"] == data["pictures"]["training"] > 0
    assert data["requests"]["writing"]["high"] == 0
    rows = {item["what"]: item["rows"] for item in data["disk"]["items"]}
    assert set(rows.values()) == {0}
    assert data["disk"]["needed"]["high"] == 0


def test_each_request_mode_and_judge_is_counted(small_config: Callable[..., Config], tmp_path: Path) -> None:
    separate = small_config(
        tmp_path / "run",
        "teacher.requests=separate",
        "teacher.judge.by=template",
        "teacher.judge.max_attempts=2",
    )
    data = forecast(separate)
    count = data["pictures"]["to_ask"]
    assert data["requests"]["writing"]["low"] == 4 * count
    assert data["requests"]["writing"]["high"] == 8 * count
    assert data["requests"]["judging"]["low"] == count
    assert data["requests"]["judging"]["high"] == 2 * count


def test_one_attempt_at_most_is_no_range(small_config: Callable[..., Config], tmp_path: Path) -> None:
    data = forecast(small_config(tmp_path / "run", "teacher.judge.max_attempts=1"))
    count = data["pictures"]["to_ask"]
    assert data["requests"]["writing"] == {"low": count, "likely": count, "high": count}


def test_a_changed_prompt_shows_how_many_rows_it_touches(
    done: tuple[Config, dict[str, Any]], tmp_path: Path, shell: Shell
) -> None:
    config, _ = done
    (tmp_path / "c.yaml").write_text(dump_config(config))
    prompts = Path(stage_one.__file__).parents[1] / "stages" / "teacher" / "asking" / "prompts"
    own = tmp_path / "own.yaml"
    own.write_text((prompts / "rationales.yaml").read_text() + "# mine\n")
    change = ("-c", tmp_path / "c.yaml", "--set", f"teacher.prompt={own}")
    before = files_of(config.store)
    assert shell.run("plan", *change, "--json") == 0
    data = json.loads(shell.out)
    assert data["pictures"]["changed"] == data["pictures"]["to_ask"] == data["pictures"]["training"]
    assert data["requests"]["basis"].startswith("measured on ")
    rows = {item["what"]: item["rows"] for item in data["disk"]["items"]}
    assert rows["bank rationale-text"] == data["pictures"]["training"], "new texts are encoded anew"
    assert rows["bank student-vision"] == 0
    assert shell.run("plan", *change) == 0
    assert f"{data['pictures']['changed']} finished pictures no longer have the prompt" in shell.out
    assert "their older rows stay readable until `mipd-pipe inspect compact`" in shell.out
    assert files_of(config.store) == before


def test_what_is_in_quarantine_counts_only_where_it_is_asked_for_again(
    drawn_data: Path, small_config: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = "this model is not here"
    with ScriptedServer(
        lambda call: call.fail(400, refused) if "seal" not in schema_of(call) else obey(call)
    ) as s:
        config = served(small_config, tmp_path, s, "max_failure_rate=1.0", "teacher.give_up_after=0")
        stage_one.generate_rationales(Workspace(config))
        assert forecast(config)["pictures"]["to_ask"] == 0
        again = forecast(config, retry_failed=True)
    assert again["pictures"]["to_ask"] == again["pictures"]["training"]
    assert again["pictures"]["failed_before"] == 0


def test_an_endpoint_out_of_reach_leaves_open_what_is_finished(
    done: tuple[Config, dict[str, Any]], small_config: Callable[..., Config], tmp_path: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    settings = ("teacher.engine=server", f"teacher.server.urls=[{url}]")
    data = forecast(small_config(tmp_path / "run", *settings))
    assert f"{url} is out of reach" in data["unknown"]  # at once: a run would wait for it
    assert data["pictures"]["to_ask"] is None
    training = data["pictures"]["training"]
    assert data["requests"]["writing"] == {"low": training, "likely": None, "high": 3 * training}
    assert data["tokens"]["in"] is None
    begun = forecast(small_config(tmp_path / "run", *settings, f"store_dir={done[0].store}"))
    assert begun["requests"]["writing"]["low"] == 0


# --- bytes -----------------------------------------------------------------------------------------


def test_the_bytes_that_were_written_lie_within_the_forecast(done: tuple[Config, dict[str, Any]]) -> None:
    config, before = done
    paths = StorePaths(config.store)
    items = {item["what"]: item for item in before["disk"]["items"]}
    spans = {
        "rationales": bytes_on_disk(paths, "rationales", ""),
        "bank teacher-vision": bytes_on_disk(paths, "bank", "teacher-vision"),
        "bank student-vision": bytes_on_disk(paths, "bank", "student-vision"),
        "bank rationale-text": bytes_on_disk(paths, "bank", "rationale-text"),
    }
    for what, written in spans.items():
        assert items[what]["bytes"]["low"] <= written <= items[what]["bytes"]["high"], what
    whole = sum(part.bytes for part in load_manifest(paths).parts)
    assert before["disk"]["needed"]["low"] <= whole <= before["disk"]["needed"]["high"]
    rows = {part.name: 0 for part in load_manifest(paths).parts if part.kind == "bank"}
    for part in load_manifest(paths).parts:
        if part.kind == "bank":
            rows[part.name] += part.rows
    assert {f"bank {name}": count for name, count in rows.items()} == {
        what: item["rows"] for what, item in items.items() if what.startswith("bank")
    }


def test_another_encoder_means_the_whole_bank_anew(done: tuple[Config, dict[str, Any]]) -> None:
    config, _ = done
    other = config.embed.student_vision.model_copy(update={"variant": "other"})
    embed = config.embed.model_copy(update={"student_vision": other})
    data = forecast(config.model_copy(update={"embed": embed}))
    rows = {item["what"]: item["rows"] for item in data["disk"]["items"]}
    assert rows["bank student-vision"] == len(Workspace(config).data.annotated_sizes())
    assert rows["bank teacher-vision"] == rows["bank rationale-text"] == 0


def test_the_published_shape_takes_its_bytes() -> None:
    header = BankHeader("teacher-vision", "bf16", (257, 1408), False, None, {})
    spread = bank_bytes(header, 1000, 1)
    assert spread.low == 1000 * 257 * 1408 * 2
    assert spread.likely is not None
    assert spread.low < spread.likely < 1.01 * spread.low


def test_a_hub_encoder_that_is_not_here_is_unknown_and_no_hub_is_asked(
    small_config: Callable[..., Config], tmp_path: Path
) -> None:
    hub = ("embed.student_vision.source=transformers", "embed.student_vision.model=nobody/no-such-model")
    data = forecast(small_config(tmp_path / "run", *hub))
    items = {item["what"]: item for item in data["disk"]["items"]}
    assert items["bank student-vision"]["bytes"] is None
    basis = items["bank student-vision"]["basis"]
    assert (
        basis
        == "unknown: nobody/no-such-model is not in the local model cache: `hf download nobody/no-such-model`"
    )
    assert items["bank teacher-vision"]["bytes"] is not None
    (encoders,) = data["memory"]
    assert encoders["bytes"] is None


def test_a_disk_too_small_ends_with_1_and_says_what_to_do(
    fresh: tuple[Config, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, data = fresh
    needed = data["disk"]["needed"]
    monkeypatch.setattr(planning, "disk_of", lambda folder: Disk(GIB, int(needed["low"]) - 1))
    result = result_of(config)
    assert result.exit_code == 1
    (short,) = result.data["will_not_fit"]
    assert f"are free where {config.store} lies" in short["what"]
    assert "--set run_dir=DIR" in short["mend"]
    assert "will not fit\n  the store needs" in result.text
    monkeypatch.setattr(planning, "disk_of", lambda folder: Disk(GIB, int(needed["high"]) - 1))
    result = result_of(config)
    assert (result.exit_code, len(result.data["may_not_fit"])) == (0, 1)
    monkeypatch.setattr(planning, "disk_of", lambda folder: Disk(GIB, int(needed["high"]) + 1))
    assert "everything that is known fits" in result_of(config).text


# --- tokens and experience -------------------------------------------------------------------------


def row(image: str, kind: Any, **fields: Any) -> dict[str, Any]:
    base = RationaleRow(
        image=image,
        split="train",
        verb="jumping",
        aspect=kind.aspect,
        polarity=kind.polarity,
        attempt=0,
        text="a horse jumps over a fence",
        contrast_verb="running",
        contrast_nouns="{}",
        status="accepted",
        judge="rules-1",
        score=None,
        reason="",
        request_key="k",
        teacher="T",
        revision="1",
        prompt_id="p",
        sampling="{}",
        seed=7,
        tokens_in=100,
        tokens_out=50,
        seconds=1.0,
        finish_reason="stop",
    )
    return {**asdict(base), **fields}


def picture(number: int, attempts: int = 1, **fields: Any) -> list[dict[str, Any]]:
    """A picture's four rationales of the first attempt; each later attempt wants two of them again."""
    rows = [row(f"{number}.jpg", kind, **fields) for kind in KINDS]
    for attempt in range(1, attempts):
        later = {**fields, "attempt": attempt, "seed": 7 + attempt, "tokens_in": 999}
        rows += [row(f"{number}.jpg", kind, **later) for kind in KINDS[:2]]
    return rows


def store_of(folder: Path, pictures: Sequence[list[dict[str, Any]]]) -> StorePaths:
    paths = StorePaths(folder)
    append_rationales(paths, [line for rows in pictures for line in rows], {})
    return paths


TEACHER = {"teacher": "T", "revision": "1"}


def test_experience_is_of_whole_pictures_and_first_requests(tmp_path: Path) -> None:
    pictures = [picture(i, attempts=2 if i < 5 else 1, tokens_in=100 + i) for i in range(20)]
    found = read_experience(store_of(tmp_path, pictures), TEACHER, together=True)
    assert found is not None
    assert found.basis == "measured on 90 rows of 20 pictures"
    assert found.attempts == Spread(1, 1.25, 2)
    assert found.rows == Spread(4, 4.5, 6)
    assert found.tokens_in is not None
    assert found.tokens_in.likely == pytest.approx(109.5)
    assert 101 < found.tokens_in.low < 103
    assert 116 < found.tokens_in.high < 118
    assert found.tokens_out == Spread(50, 50, 50)
    assert found.complete == 1.0


def test_few_rows_and_other_teachers_are_no_experience(tmp_path: Path) -> None:
    few = store_of(tmp_path / "few", [picture(i) for i in range(12)])
    assert read_experience(few, TEACHER, together=True) is None
    assert read_experience(few, TEACHER, together=True, least=1) is not None
    mixed = store_of(tmp_path / "mixed", [picture(i) for i in range(20)] + [picture(99, revision="2")])
    found = read_experience(mixed, TEACHER, together=True)
    assert found is not None
    assert found.basis == "measured on 80 rows of 20 pictures"
    assert read_experience(mixed, {**TEACHER, "revision": "2"}, together=True) is None


def test_tokens_of_the_other_request_mode_are_not_taken(tmp_path: Path) -> None:
    found = read_experience(store_of(tmp_path, [picture(i) for i in range(20)]), TEACHER, together=False)
    assert found is not None
    assert found.tokens_in is None
    assert found.rows == Spread(4, 4, 4)


def test_a_picture_that_went_back_to_an_earlier_version_counts_once(tmp_path: Path) -> None:
    pictures = [picture(i) for i in range(20)]
    found = read_experience(store_of(tmp_path, [*pictures, *pictures]), TEACHER, together=True)
    assert found is not None
    assert found.basis == "measured on 80 rows of 20 pictures"


def test_without_experience_tokens_are_assumed_and_it_says_so(
    chat_model: Path, small_config: Callable[..., Config], tmp_path: Path
) -> None:
    model = ("teacher.engine=vllm", f"teacher.vllm.model={chat_model}", "teacher.judge.by=teacher")
    data = forecast(small_config(tmp_path / "run", *model))
    written = data["tokens"]["per_request"]
    assert written["basis"].startswith("assumed: text of 3 to 5 characters a token")
    assert 0 < written["tokens_in"]["low"] < written["tokens_in"]["high"]
    assert written["tokens_out"] == {"low": 100, "likely": None, "high": 600}
    assert data["tokens"]["per_verdict"]["tokens_in"]["low"] > written["tokens_in"]["low"]
    count, sums = data["pictures"]["to_ask"], data["tokens"]["out"]
    assert sums["low"] == count * (100 + 60)
    assert sums["high"] == 3 * count * (600 + 400)
    smaller = forecast(small_config(tmp_path / "run", *model, "teacher.vllm.processor={max_pixels: 784}"))
    assert smaller["tokens"]["per_request"]["tokens_in"]["high"] < written["tokens_in"]["high"]


# --- the probe -------------------------------------------------------------------------------------

TEXTS = {
    "positive_glimpse": "One sees at once what is going on here, because everybody takes part in it.",
    "negative_glimpse": "The whole place looks as if something else were happening, and people take part.",
    "positive_gaze": "In the middle stands the one who does it, and beside it lies what it is done with.",
    "negative_gaze": "At the left edge waits somebody else, holding a thing that does not belong there.",
}


def schema_of(call: Call) -> list[str]:
    names: list[str] = call.body["response_format"]["json_schema"]["schema"]["required"]
    return names


def obey(call: Call) -> None:
    """Answers as its schema wants it."""
    names = schema_of(call)
    call.answer(json.dumps({"seal": "tern"} if names == ["seal"] else {name: TEXTS[name] for name in names}))


def served(small_config: Callable[..., Config], folder: Path, server: ScriptedServer, *more: str) -> Config:
    settings = (
        "teacher.engine=server",
        f"teacher.server.urls=[{server.url}]",
        "teacher.server.backoff_seconds=0",
    )
    return small_config(folder / "run", *settings, *more)


def test_a_probe_asks_the_real_engine_and_leaves_no_trace(
    small_config: Callable[..., Config], tmp_path: Path, shell: Shell
) -> None:
    with ScriptedServer(obey) as server:
        config = served(small_config, tmp_path, server)
        (tmp_path / "c.yaml").write_text(dump_config(config))
        assert shell.run("plan", "-c", tmp_path / "c.yaml", "--probe", "10", "--json") == 0, shell.err
        asked = Counter(
            tuple(body["response_format"]["json_schema"]["schema"]["required"]) for body in server.bodies
        )
    data = json.loads(shell.out)
    probed = data["probe"]["pictures"]
    assert 5 <= probed <= 15
    assert asked.pop(("seal",)) == 1
    assert sum(asked.values()) == data["probe"]["requests"] >= probed
    per_request = data["tokens"]["per_request"]
    assert per_request["tokens_in"] == {"low": 300, "likely": 300, "high": 300}
    assert per_request["tokens_out"] == {"low": 7, "likely": 7, "high": 7}
    assert per_request["basis"].startswith("probed on ")
    assert 0 < data["hours"]["low"] < data["hours"]["high"]
    assert "the engine takes 32 at once" in data["hours"]["rate"]["basis"]
    assert data["pictures"]["to_ask"] == data["pictures"]["training"]
    assert not config.store.exists()
    assert not (config.run_dir / "events.jsonl").exists()


def test_a_probe_of_an_engine_that_ignores_schemas_ends_as_the_run_would(
    small_config: Callable[..., Config], tmp_path: Path, shell: Shell
) -> None:
    with ScriptedServer() as server:
        (tmp_path / "c.yaml").write_text(dump_config(served(small_config, tmp_path, server)))
        assert shell.run("plan", "-c", tmp_path / "c.yaml", "--probe", "5") == 2
    assert "does not hold its answers to a JSON schema" in shell.err


def test_a_probe_in_which_every_picture_fails_says_why(
    small_config: Callable[..., Config], tmp_path: Path, shell: Shell
) -> None:
    def cut(call: Call) -> None:
        obey(call) if schema_of(call) == ["seal"] else call.answer("{", "length")

    with ScriptedServer(cut) as server:
        (tmp_path / "c.yaml").write_text(dump_config(served(small_config, tmp_path, server)))
        assert shell.run("plan", "-c", tmp_path / "c.yaml", "--probe", "5", "--json") == 0, shell.err
        data = json.loads(shell.out)
        assert shell.run("plan", "-c", tmp_path / "c.yaml", "--probe", "5") == 0
    assert data["probe"]["failed"] == data["probe"]["pictures"] > 0
    assert data["tokens"]["per_request"]["basis"].startswith("assumed: ")
    assert "token limit" in data["probe"]["faults"][0]
    assert f"failed ({data['probe']['faults'][0]})" in shell.out


def test_a_probe_whose_rationales_are_mostly_rejected_warns_with_the_reasons(
    small_config: Callable[..., Config], tmp_path: Path, shell: Shell
) -> None:
    with ScriptedServer(obey) as server:
        config = served(small_config, tmp_path, server, "teacher.judge.min_words=100")
        (tmp_path / "c.yaml").write_text(dump_config(config))
        assert shell.run("plan", "-c", tmp_path / "c.yaml", "--probe", "5", "--json") == 0, shell.err
        probed = json.loads(shell.out)["probe"]
    assert probed["accepted"] == 0 < probed["rejected"]
    assert probed["warning"] in shell.err
    assert (
        f"warning: {probed['rejected']} of {probed['rejected']} rationales were rejected (100%), mostly"
        in (probed["warning"])
    )
    assert "words, fewer than 100" in probed["warning"]


@pytest.mark.parametrize(("offline", "code"), [(True, 1), (False, 0)])
def test_a_hub_model_that_cannot_be_fetched_is_missing(
    small_config: Callable[..., Config],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    offline: bool,
    code: int,
) -> None:
    """With the hub at hand the run itself would fetch it."""
    monkeypatch.setattr("pipeline.checks.model_files.is_offline", lambda: offline)
    result = result_of(with_model(small_config, tmp_path, Path("nobody/no-such-model")), RAM)
    assert result.exit_code == code
    assert "nobody/no-such-model is not in the local model cache" in result.data["unknown"]


def test_a_model_folder_that_is_not_there_ends_with_1_and_is_told_first_of_all(
    small_config: Callable[..., Config], tmp_path: Path
) -> None:
    result = result_of(with_model(small_config, tmp_path, tmp_path / "no" / "model"), RAM)
    assert result.exit_code == 1
    lines = result.text.split("\n")
    said = lines[lines.index("missing, so nothing can be asked") + 1]
    assert said.startswith(f"  model folder {tmp_path}/no/model does not exist; give a folder that holds")
    assert said.endswith("or a hub id such as Qwen/Qwen2.5-VL-7B-Instruct")


def test_nothing_left_to_ask_takes_no_tokens_because_of_that(
    done: tuple[Config, dict[str, Any]], chat_model: Path
) -> None:
    data = forecast(done[0])
    assert data["pictures"]["to_ask"] == 0
    text = plan_text({**data, "engine": "vllm", "requests": {**data["requests"], "judge": "rules"}})
    assert "nothing is left to ask" in text
    assert "reads none" not in text


def test_a_store_with_experience_is_believed_before_the_probe(
    done: tuple[Config, dict[str, Any]], tmp_path: Path
) -> None:
    config, _ = done
    teacher = config.teacher.model_copy(update={"seed": 9})
    data = forecast(config.model_copy(update={"teacher": teacher}), pictures=10)
    assert data["requests"]["basis"].startswith("measured on ")
    assert data["hours"]["rate"]["basis"].startswith("probed with ")


@given(images=st.sets(st.text(min_size=1), min_size=1, max_size=200), pictures=st.integers(1, 50))
def test_a_probes_shard_is_never_empty(images: set[str], pictures: int) -> None:
    shard = probe_shard(sorted(images), pictures)
    assert in_shard(sorted(images), shard.number, shard.count)


def test_a_probes_shard_holds_about_as_many_as_wanted() -> None:
    images = [f"{i}.jpg" for i in range(5000)]
    for wanted in (1, 20, 100):
        shard = probe_shard(images, wanted)
        assert abs(len(in_shard(images, shard.number, shard.count)) - wanted) <= 0.1 * wanted


# --- hours -----------------------------------------------------------------------------------------


def finished(requests: int, seconds: float, **fields: Any) -> str:
    event = {"at": "2026-01-01T00:00:00+00:00", "event": "rationales-finished", **TEACHER}
    return json.dumps({**event, "requests": requests, "seconds": seconds, **fields})


def test_the_rate_of_calls_is_that_of_the_same_teacher(tmp_path: Path) -> None:
    lines = [
        json.dumps({"at": "2026-01-01T00:00:00+00:00", "event": "asking-started", "pictures": 9}),
        finished(100, 10),
        finished(500, 100),
        finished(0, 0),
        finished(900, 1, revision="2"),
        finished(900, 1, teacher="n"),
        '{"at": "2026-01-01T00:00:0',
        "[]",
    ]
    (tmp_path / "events.jsonl").write_text("\n".join(lines))
    rate = rate_of_calls(tmp_path / "events.jsonl", TEACHER)
    assert rate is not None
    assert rate.requests == Spread(5, 600 / 110, 10)
    assert rate.basis == "measured on 2 calls, 600 requests by one worker"
    assert rate_of_calls(tmp_path / "none.jsonl", TEACHER) is None


def test_hours_come_from_earlier_calls_of_the_same_teacher(
    done: tuple[Config, dict[str, Any]], tmp_path: Path
) -> None:
    config, _ = done
    run = shutil.copytree(config.run_dir, tmp_path / "run")
    teacher = config.teacher.model_copy(update={"seed": 9})
    data = forecast(config.model_copy(update={"teacher": teacher, "run_dir": run}))
    assert data["hours"]["rate"]["basis"].startswith("measured on 1 call, ")
    rate, requests = data["hours"]["rate"]["requests"], data["requests"]["writing"]
    assert data["hours"]["likely"] == pytest.approx(requests["likely"] / rate["likely"] / 3600)
    events = run / "events.jsonl"
    events.write_text(events.read_text().replace('"teacher": "template"', '"teacher": "another"'))
    assert forecast(config.model_copy(update={"teacher": teacher, "run_dir": run}))["hours"] is None


def test_a_probe_that_does_not_fill_the_engine_bounds_the_rate_from_below() -> None:
    vllm = TeacherSettings(engine="vllm", vllm=VllmSettings(max_num_seqs=64))
    rate = rate_of_probe(16, 8.0, vllm)
    assert rate is not None
    assert rate.requests == Spread(2, None, 8)
    two = TeacherSettings(
        engine="server", server=ServerSettings(urls=["http://a/v1", "http://b/v1"], concurrency=4)
    )
    full = rate_of_probe(16, 8.0, two)
    assert full is not None
    assert full.requests == Spread(2, 2, 2)
    assert rate_of_probe(0, 8.0, vllm) is None


# --- memory ----------------------------------------------------------------------------------------


def test_weights_take_the_wanted_format_and_quantised_ones_their_own() -> None:
    elements = Counter({"F32": 10, "BF16": 100, "I8": 1000, "F8_E4M3": 1})
    assert weight_bytes(elements, 2) == 2 * 110 + 1000 + 1
    assert weight_bytes(elements, 4) == 4 * 110 + 1000 + 1
    assert weight_bytes(elements, 0) == 4 * 10 + 2 * 100 + 1000 + 1


def test_the_key_value_cache_of_qwen() -> None:
    qwen = {"hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4}
    assert cache_bytes_per_token(qwen, 2) == 57_344  # 2 x 28 layers x 4 heads x 128 x 2 bytes
    assert cache_bytes_per_token({"text_config": {**qwen, "head_dim": 64}}, 2) == 28_672
    assert cache_bytes_per_token({"vision": 1}, 2) == 0


def with_model(small_config: Callable[..., Config], folder: Path, model: Path, *more: str) -> Config:
    return small_config(folder / "run", "teacher.engine=vllm", f"teacher.vllm.model={model}", *more)


def test_a_model_on_the_cpu_needs_its_weights_and_one_context(
    chat_model: Path, small_config: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE", raising=False)
    config = with_model(small_config, tmp_path, chat_model, "teacher.vllm.dtype=float32")
    (need,) = forecast(config)["memory"]
    weights = (chat_model / "model.safetensors").stat().st_size
    context = 2 * 2 * 2 * 64 * 4 * 4096  # keys and values x layers x heads x head size x bytes x tokens
    assert need["where"] == "RAM"
    assert need["bytes"]["low"] == pytest.approx(weights + context, rel=0.01)
    assert need["bytes"]["high"] == pytest.approx(weights + 64 * context, rel=0.01)
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "4")
    (need,) = forecast(config)["memory"]
    assert need["bytes"]["low"] == pytest.approx(weights + 4 * GIB, rel=0.01)


def test_a_model_too_large_for_the_memory_ends_with_1(
    chat_model: Path, small_config: Callable[..., Config], tmp_path: Path
) -> None:
    config = with_model(small_config, tmp_path, chat_model)
    small = Machine("a CPU", 2, GIB, 1 << 20, ())
    assert result_of(config, RAM).exit_code == 0
    result = result_of(config, small)
    assert result.exit_code == 1
    (short,) = result.data["will_not_fit"]
    assert "teacher.vllm needs at least" in short["what"]
    assert "1.0 MiB can be had" in short["what"]
    assert "raise teacher.vllm.tensor_parallel_size" in short["mend"]
    tiny = result_of(config, gpus(1 << 20, memory=1 << 20))
    assert "of each GPU" in tiny.data["will_not_fit"][0]["what"]


def test_tensor_parallel_halves_what_each_gpu_holds(
    chat_model: Path, small_config: Callable[..., Config], tmp_path: Path
) -> None:
    two = gpus(80 * GIB, 80 * GIB)
    (one,) = forecast(with_model(small_config, tmp_path, chat_model), machine=two)["memory"]
    split = with_model(small_config, tmp_path, chat_model, "teacher.vllm.tensor_parallel_size=2")
    (half,) = forecast(split, machine=two)["memory"]
    assert half["bytes"]["low"] == one["bytes"]["low"] / 2
    assert one["have"] == int(0.9 * 80 * GIB)


@pytest.mark.parametrize(
    ("settings", "machine", "words"),
    [
        (
            ["teacher.vllm.data_parallel_size=3"],
            gpus(80 * GIB),
            "teacher.vllm asks for 3 GPUs, and there are 1",
        ),
        ([], gpus(20 * GIB), "teacher.vllm takes 72.0 GiB of the H100, and 20.0 GiB are free"),
        (
            ["teacher.judge.by=vllm"],
            gpus(80 * GIB),
            "teacher.vllm and teacher.judge.vllm together take 1.80 times",
        ),
    ],
)
def test_what_vllm_would_refuse_is_said_before(
    chat_model: Path,
    small_config: Callable[..., Config],
    tmp_path: Path,
    settings: list[str],
    machine: Machine,
    words: str,
) -> None:
    judge = f"teacher.judge.vllm.model={chat_model}"
    result = result_of(with_model(small_config, tmp_path, chat_model, judge, *settings), machine)
    assert result.exit_code == 1
    assert [short for short in result.data["will_not_fit"] if words in short["what"]], result.text


# --- the arithmetic of ranges ----------------------------------------------------------------------

AMOUNTS = st.floats(min_value=0, max_value=1e6)


@st.composite
def spreads(draw: st.DrawFn) -> Spread:
    low, likely, high = sorted(draw(st.tuples(AMOUNTS, AMOUNTS, AMOUNTS)))
    return Spread(low, draw(st.sampled_from([likely, None])), high)


@given(one=spreads(), other=spreads())
def test_sums_and_products_of_ranges_stay_ranges(one: Spread, other: Spread) -> None:
    for found in (one + other, one * other, one * 3, total([one, other, one])):
        assert found.low <= found.high
        if found.likely is not None:
            assert found.low <= found.likely * (1 + 1e-9)
            assert found.likely <= found.high * (1 + 1e-9)
    assert ((one + other).likely is None) == (one.likely is None or other.likely is None)


def test_a_quotient_is_widest_where_both_are_at_their_ends() -> None:
    assert Spread(10, 20, 30) / Spread(1, 2, 5) == Spread(2, 10, 30)
