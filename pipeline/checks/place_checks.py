"""What `mipd-pipe doctor` finds out about folders, disk, memory and endpoints."""

from __future__ import annotations

import asyncio
import fcntl
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cache.errors import MachineError, UserError
from cache.lock import try_lock
from pipeline.checks.finding import Finding
from pipeline.config import Config
from pipeline.machine import Machine, disk_of, nearest_folder
from pipeline.table import size
from stages.data.pictures import PictureError, open_picture
from stages.data.settings import DataSettings
from stages.data.swig import read_data_set
from stages.teacher.engines.endpoint import Endpoint, FaultyError, open_client, read_key
from stages.teacher.engines.server_settings import ServerSettings

LITTLE = 2 << 30  # bytes of disk or memory below which anything but the demo is in danger
PATIENCE = 5.0  # seconds for an endpoint
_PICTURES_OPENED = 8


def check_data(settings: DataSettings) -> Finding:
    """Reads the annotations, and opens a few pictures that are spread over the training set."""
    if settings.demo_images and not settings.root.exists():
        return Finding("data", "ok", f"{settings.demo_images} pictures will be drawn into {settings.root}")
    try:
        data = read_data_set(settings)
        training = data.split("train")
        for sample in training[:: max(1, len(training) // _PICTURES_OPENED)]:
            open_picture(data.picture(sample.image), settings.max_image_pixels)
    except PictureError as fault:
        return Finding("data", "warn", str(fault), "mipd-pipe check-data")
    except UserError as fault:
        return Finding("data", "missing", str(fault), "--set data.root=DIR")
    if not training:
        return Finding(
            "data", "missing", f"{settings.root}: no usable training picture", "mipd-pipe check-data"
        )
    found = f"{settings.root}: {len(training)} training pictures, {len(data.problems)} problems"
    return Finding("data", "ok", found, "mipd-pipe check-data" if data.problems else "")


def check_folder(name: str, folder: Path) -> Finding:
    """Whether files can be made and locked in a folder, or in the nearest parent where it will be made."""
    place = nearest_folder(folder)
    elsewhere = f"--set {name}=DIR"
    if not place.is_dir():
        return Finding(name, "missing", f"{place} is a file, so {folder} cannot be made", elsewhere)
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".mipd-doctor-") as file:
            try_lock(file.fileno(), Path(file.name), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except MachineError as fault:  # a disk without locks
        return Finding(name, "missing", str(fault), elsewhere)
    except OSError as fault:
        found = f"{place} cannot be written ({fault.strerror})"
        return Finding(name, "missing", found, f"make it writable, or {elsewhere}")
    there = "" if folder.exists() else ", which will be made"
    return Finding(name, "ok", f"{folder}{there}: can be written and locked")


def check_disk(folder: Path) -> Finding:
    disk = disk_of(folder)
    found = f"{size(disk.free)} free of {size(disk.total)} where {folder} lies"
    if disk.free < LITTLE:
        return Finding("disk", "warn", found, "make room, or --set run_dir=DIR; see `mipd-pipe plan`")
    return Finding("disk", "ok", found)


def check_memory(machine: Machine) -> Finding:
    found = f"{size(machine.memory_available)} available of {size(machine.memory)}, {machine.cores} cores"
    if machine.memory_available < LITTLE:
        return Finding("memory", "warn", found, "end other programs; see what is needed by `mipd-pipe plan`")
    return Finding("memory", "ok", found)


def check_folders(config: Config) -> Iterator[Finding]:
    yield check_folder("run_dir", config.run_dir)
    if config.store_dir is not None:
        yield check_folder("store_dir", config.store_dir)


def check_key(path: str, settings: ServerSettings) -> Finding:
    """Says whether the key's variable is set; never what is in it."""
    name, variable = f"{path}.key_variable", settings.key_variable
    try:
        key = read_key(variable)
    except UserError as fault:
        return Finding(name, "missing", str(fault), f"export {variable}=KEY")
    if key:
        return Finding(name, "ok", f"{variable} is set")
    return Finding(
        name, "note", f"{variable} is not set: requests go without a key", f"export {variable}=KEY"
    )


def require_endpoint(path: str, settings: ServerSettings) -> None:
    """Raises MachineError where no endpoint can be asked at this moment; a run would wait for one."""
    findings = check_endpoints(path, settings)
    if all(finding.state == "missing" for finding in findings):
        raise MachineError("; ".join(finding.found for finding in findings))


def check_endpoints(path: str, settings: ServerSettings, patience: float = PATIENCE) -> list[Finding]:
    """Each endpoint: is it there, does it serve the model. One that is alive is enough to begin."""
    try:
        faults = asyncio.run(_faults(settings, patience))
    except UserError as reason:  # a key that cannot be sent
        return [Finding(path, "missing", str(reason), f"export {settings.key_variable}=KEY")]
    alive = any(fault is None for fault in faults.values())
    return [_endpoint(path, url, settings, fault, alive) for url, fault in faults.items()]


def _endpoint(
    path: str, url: str, settings: ServerSettings, fault: Exception | None, another: bool
) -> Finding:
    name = f"{path} {url}"
    if fault is None:
        return Finding(name, "ok", f"alive, serves {settings.model or 'one model'}")
    if isinstance(fault, UserError):  # it is there, but of no use; alone, it ends the run by what it answers
        return Finding(name, "warn" if another else "missing", str(fault), f"correct {path}, or the endpoint")
    mend = f"start it, as by `vllm serve {settings.model or 'MODEL'}`, or --set {path}.urls=[URL]"
    return Finding(name, "warn" if another else "missing", str(fault), mend)


async def _faults(settings: ServerSettings, patience: float) -> dict[str, Exception | None]:
    """Address -> what is wrong with the endpoint, or None."""
    key = read_key(settings.key_variable)
    async with open_client(key) as client:
        endpoints = [Endpoint(url, client, key, settings) for url in settings.urls]
        found = await asyncio.gather(*(_fault(endpoint, settings.model, patience) for endpoint in endpoints))
    return dict(zip(settings.urls, found, strict=True))


async def _fault(endpoint: Endpoint, model: str, patience: float) -> Exception | None:
    try:
        async with asyncio.timeout(patience):
            if model:
                await endpoint.check(model)
                return None
            names = await endpoint.models()
    except TimeoutError:
        return FaultyError(f"{endpoint.url} did not answer within {patience:g} seconds")
    except (FaultyError, UserError) as fault:
        return fault
    if len(names) != 1:
        return UserError(
            f"{endpoint.url} serves {len(names)} models; say by `model` which one is the teacher"
        )
    return None
