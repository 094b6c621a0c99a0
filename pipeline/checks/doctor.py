"""`mipd-pipe doctor`: what is installed, what is missing, what to type."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from typing import Any

from pipeline.checks import model_checks, package_checks, place_checks
from pipeline.checks.finding import Finding
from pipeline.checks.import_probe import Probe, probe
from pipeline.checks.needs import Needs, needs_of
from pipeline.config import Config
from pipeline.machine import Machine, look_at_machine
from pipeline.result import Result
from pipeline.table import render
from stages.teacher.engines.vllm_load import installed_vllm

_IMPORTS_AT_ONCE = 2  # each is a process that reads hundreds of files


def doctor(
    config: Config, everything: bool = False, probe: Probe = probe, machine: Machine | None = None
) -> Result:
    """Looks at all that the configuration needs; exit code 1 where something of it is missing.

    everything  also import what the configuration does without
    """
    machine = machine or look_at_machine()
    findings = examine(config, machine, everything, probe)
    missing = [finding.name for finding in findings if finding.state == "missing"]
    data = {"findings": [asdict(finding) for finding in findings], "missing": missing}
    return Result(_text(findings, missing), data, exit_code=int(bool(missing)))


def examine(config: Config, machine: Machine, everything: bool, probe: Probe) -> list[Finding]:
    needs = needs_of(config)
    facts = _import_packages(needs, everything, probe)
    checks = [*_package_checks(facts, machine, needs), *_place_checks(config, machine, needs)]
    checks += _model_checks(facts, needs)
    return [finding for name, check in checks for finding in _carefully(name, check)]


Check = tuple[str, Callable[[], Iterable[Finding] | Finding]]


def _carefully(name: str, check: Callable[[], Iterable[Finding] | Finding]) -> list[Finding]:
    """A check that fails itself must not hide what the others found."""
    try:
        found = check()
        return [found] if isinstance(found, Finding) else list(found)
    except Exception as reason:
        return [Finding(name, "warn", f"could not be checked ({type(reason).__name__}: {reason})")]


def _import_packages(needs: Needs, everything: bool, probe: Probe) -> Mapping[str, dict[str, Any]]:
    """Facts on each package that is worth the seconds its import takes."""
    wanted: dict[str, Sequence[str]] = {"torch": (), "faiss": ()}
    if everything or needs.vllm or needs.encoders:
        wanted |= {"transformers": (), "torchvision": ()}
    if everything or needs.ray:
        wanted["ray"] = ()
    if installed_vllm() is not None and (everything or needs.with_vllm):
        wanted["vllm"] = model_checks.architectures(needs)
    with ThreadPoolExecutor(_IMPORTS_AT_ONCE) as pool:
        running = {name: pool.submit(probe, name, *arguments) for name, arguments in wanted.items()}
        return {name: future.result() for name, future in running.items()}


def _package_checks(facts: Mapping[str, dict[str, Any]], machine: Machine, needs: Needs) -> Iterator[Check]:
    packages, torch = package_checks, facts["torch"]
    yield "Python", packages.check_python
    yield "versions", packages.check_versions
    yield "torch", partial(packages.check_torch, torch, machine, needs)
    yield "GPUs", partial(packages.check_gpus, machine, needs)
    yield "vLLM", partial(packages.check_vllm, facts.get("vllm"), machine, needs)
    if "torchvision" in facts and not torch["fault"]:
        yield (
            "torchvision",
            partial(packages.check_torchvision, facts["torchvision"], torch["version"], needs),
        )
    if "transformers" in facts:
        yield "transformers", partial(packages.check_transformers, facts["transformers"], needs)
    yield "faiss", partial(packages.check_faiss, facts["faiss"], machine)
    if "ray" in facts:
        yield "ray", partial(packages.check_ray, facts["ray"], needs)


def _place_checks(config: Config, machine: Machine, needs: Needs) -> Iterator[Check]:
    yield "data", partial(place_checks.check_data, config.data)
    yield "run_dir", partial(place_checks.check_folders, config)
    yield "disk", partial(place_checks.check_disk, config.store)
    yield "memory", partial(place_checks.check_memory, machine)
    for path, settings in needs.servers.items():
        yield path, partial(place_checks.check_key, path, settings)
        yield path, partial(place_checks.check_endpoints, path, settings)


def _model_checks(facts: Mapping[str, dict[str, Any]], needs: Needs) -> Iterator[Check]:
    for path, settings in needs.vllm.items():
        yield path, partial(model_checks.check_vllm_model, path, settings, facts.get("vllm"))
    can_import = not any(facts[name]["fault"] for name in ("torch", "transformers") if name in facts)
    for path, tower in needs.encoders.items():
        yield path, partial(model_checks.check_encoder, path, tower, can_import, facts.get("vllm"))


_DISPENSABLE = {"note": " (only if wanted)", "warn": "", "missing": ""}


def _text(findings: Sequence[Finding], missing: Sequence[str]) -> str:
    lines = [render(["what", "state", "found"], [(f.name, f.state, f.found) for f in findings])]
    mends = [finding for finding in findings if finding.mend and finding.state != "ok"]
    if mends:
        lines += ["", "what to do", *(f"  {f.name}{_DISPENSABLE[f.state]}: {f.mend}" for f in mends)]
    lines += [
        "",
        f"missing: {', '.join(missing)}" if missing else "nothing that this configuration needs is missing",
    ]
    return "\n".join(lines)
