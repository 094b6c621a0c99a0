"""`mipd-pipe inspect verify / repair / compact / export / import`: the store's health, its way out and in."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from cache.compact import compact
from cache.errors import UserError
from cache.export import Form, export_tables
from cache.imports import Target, import_rows
from cache.manifest import find_leftovers, load_manifest, load_manifest_copy
from cache.repair import Action, plan_repair, repair
from cache.verify import verify
from cache.webdataset import PICTURES_PER_FILE, export_webdataset
from pipeline.leak_rule import leak_rule
from pipeline.result import Result
from pipeline.table import size
from pipeline.workspace import Workspace
from stages.printable import printable

FORMS: tuple[Form, ...] = ("parquet", "hf", "webdataset")
_NEXT = "then `mipd-pipe generate-rationales` and `mipd-pipe embed-teacher` make anew what is missing"


def verify_store(workspace: Workspace, fast: bool) -> Result:
    """Every fault of the store; exit code 1 where there is one."""
    manifest = load_manifest(workspace.store.require())
    total = sum(part.bytes for part in manifest.parts)
    with workspace.console.progress("verify", total, unit="byte") as advance:
        faults = verify(workspace.store, fast, advance, **_known(workspace))
    lines = [f"{fault.file}{f' [{fault.key}]' if fault.key else ''}: {fault.reason}" for fault in faults]
    skipped = ", checksums skipped" if fast else ""
    verdict = f"{len(manifest.parts)} files, {size(total)}{skipped}: "
    verdict += (
        f"{len(faults)} faults; see what `mipd-pipe inspect repair --dry-run` would do" if faults else "whole"
    )
    stray = [path.relative_to(workspace.store.root).as_posix() for path in find_leftovers(workspace.store)]
    if stray:
        lines.append(
            f"note: {len(stray)} unlisted files of a stopped run, e.g. {stray[0]}; the next one removes them"
        )
    data = {"faults": [asdict(fault) for fault in faults], "unlisted": stray}
    return Result(printable("\n".join([*lines, verdict])), data, int(bool(faults)))


def repair_store(workspace: Workspace, dry_run: bool) -> Result:
    """Takes out what is proven bad. A dry run ends with exit code 1 where there is something to do."""
    store = workspace.store
    known = _known(workspace) if _is_of_this_data(workspace) else {"trained": frozenset[str]()}
    if "pictures" not in known and workspace.config.data.root.exists():
        workspace.console.say(
            "note: the store is of another data set than data.root, or of an earlier state of it, so that "
            "its files and rows are looked at, but not whether they fit the pictures and held-out verbs"
        )
    actions = plan_repair(store, **known) if dry_run else repair(store, **known)
    lines = [str(action) for action in actions] or ["nothing is proven bad: nothing to repair"]
    if actions and dry_run:
        lines.append(
            f"{len(actions)} steps, none of them done; joins are looked at when all files are whole, and may "
            "bring up more"
        )
    elif actions:
        lines.append(f"{_aside(workspace, actions)}{_NEXT}")
    data = [asdict(action) for action in actions]
    return Result(printable("\n".join(lines)), data, int(dry_run and bool(actions)))


def _is_of_this_data(workspace: Workspace) -> bool:
    """Held against another data set, every rationale and bank might look wrong."""
    data = workspace.data_if_there()
    if data is None:
        return False
    for load in (load_manifest, load_manifest_copy):
        try:
            return load(workspace.store).data_fingerprint == data.fingerprint
        except UserError:  # which the repair will tell, or mend
            continue
    return False


def _aside(workspace: Workspace, actions: list[Action]) -> str:
    if all(action.deed == "renew" for action in actions):
        return ""
    return f"damaged files are kept in {workspace.store.removed} until `mipd-pipe inspect compact`; "


def compact_store(workspace: Workspace, keep_versions: bool) -> Result:
    """Few large files instead of many small ones."""
    done = compact(workspace.store, keep_versions, say=workspace.console.say)
    dropped = ", ".join(f"{count} of {kind}" for kind, count in done.dropped.items() if count) or "none"
    lines = [
        f"files    {done.files_before} -> {done.files_after}",
        f"size     {size(done.bytes_before)} -> {size(done.bytes_after)}",
        f"dropped  {dropped} (rows that newer ones had replaced)",
        f"removed  {done.removed} unlisted or damaged files",
    ]
    return Result("\n".join(lines), asdict(done))


def export_store(
    workspace: Workspace, out: Path, form: str, banks: list[str], pictures_per_file: int | None
) -> Result:
    """The newest rationales with their verdicts, for other programs."""
    known = _form(form)
    if banks and known != "webdataset":
        raise UserError(f"--banks go with --to webdataset; --to {form} holds rationales alone")
    if known == "webdataset":
        data = workspace.data
        annotations = {sample.image: asdict(sample) for sample in data.samples}
        count = PICTURES_PER_FILE if pictures_per_file is None else pictures_per_file
        total = len(annotations)
        with workspace.console.progress("export", total) as advance:
            done = export_webdataset(
                workspace.store, out, data.picture, annotations.get, banks, count, advance
            )
    else:
        done = export_tables(workspace.store, out, known, pictures_per_file or 0)
    text = f"{done.rows} rationales of {done.pictures} pictures in {len(done.files)} files: {out}"
    return Result(text, {"out": str(out), **asdict(done)})


def import_store(workspace: Workspace, path: Path, form: str, force: bool) -> Result:
    """Exported rationales, brought into the store as they were."""
    data = workspace.data
    target = Target(
        data.fingerprint,
        tuple(sorted(verb for verb, subset in data.subset_of.items() if subset == "unseen")),
        frozenset(data.annotated_sizes()),
        leak_rule(data),
    )
    done = import_rows(workspace.store, path, _form(form), target, workspace.producer, force)
    lines = [f"{done.added} rationales of {done.pictures} pictures added, {done.skipped} were there already"]
    if done.foreign:
        lines.append(f"{done.foreign} left out: of no picture of this data set")
    if done.replaced:
        lines.append(
            f"{done.replaced} pictures read the imported version now; the store's own stays as an earlier "
            "one, and `mipd-pipe generate-rationales` goes back to it where the settings ask for it"
        )
    return Result("\n".join(lines), asdict(done))


def _known(workspace: Workspace) -> dict[str, Any]:
    """What only the data set can tell `verify`; nothing where it is not at hand."""
    data = workspace.data_if_there()
    if data is None:
        return {}
    return {
        "leak": leak_rule(data),
        "trained": {sample.image for sample in data.split("train")},
        "pictures": data.annotated_sizes().keys(),
    }


def _form(form: str) -> Form:
    for known in FORMS:
        if form == known:
            return known
    raise UserError(f"{form!r} is no form of an export; give one of {', '.join(FORMS)}")
