"""Stage two from a configuration: trains and measures the student."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from cache.errors import FindingsError, UserError
from cache.keys import fingerprint
from cache.manifest import load_manifest
from cache.mining import mine_negatives
from cache.rationales import read_rationales, usable_texts
from cache.vectors import LABELS
from pipeline.checks.checkpoint_checks import (
    other_data_notes,
    require_same_encoder,
    require_same_labels,
    require_same_subsets,
    trained_on,
)
from pipeline.console import Console, SilentConsole
from pipeline.figures.evaluation_files import show, tell, write_files
from pipeline.figures.open_evaluation import asked_samples, asked_subsets
from pipeline.frozen_encoders import encoder_device, record_encoders
from pipeline.leak_rule import leak_rule
from pipeline.open_vocabulary import open_vocabulary
from pipeline.result import Result
from pipeline.workspace import Workspace
from stages.data.sample import Sample, Split
from stages.data.vocabulary import Vocabulary
from stages.student.measuring.evaluate import evaluate as evaluate_student
from stages.student.processes import Processes
from stages.student.reading.dataset import StoreDataset, TeacherBanks
from stages.student.reading.label_store import read_label_texts
from stages.student.torchrun import training_processes
from stages.student.training.checkpoint import BEST, load_student
from stages.student.training.device import choose_device
from stages.student.training.leakage import refuse_leaks
from stages.student.training.tensor_file import load_facts
from stages.student.training.train import Trainer
from stages.student.training_data import TrainingData


def train_student(workspace: Workspace) -> None:
    """`mipd-pipe train-student`."""
    with training_processes(workspace.config.train.device) as processes:
        if processes.rank:
            workspace.console = SilentConsole()
            _train(workspace, processes, Console())
            return
        with workspace.stage("train-student"):
            best = _train(workspace, processes, workspace.console)
    workspace.console.say(f"best checkpoint: {best}")


def _train(workspace: Workspace, processes: Processes, console: Console) -> Path:
    config, folder = workspace.config, workspace.config.run_dir / "student"
    data = training_data(workspace)
    trainer = Trainer(data, config.student, config.losses, config.train, folder, console, processes)
    return trainer.run()


def refuse_other_data(workspace: Workspace) -> None:
    """Before stage one spends anything: a run folder whose student was trained on other data is refused."""
    states = sorted((workspace.config.run_dir / "student").glob("state-*.safetensors"))
    if not states:
        return
    trained = load_facts(states[-1])["obeyed"]["data"]["data"]
    if trained != workspace.data.fingerprint:
        raise UserError(
            f"the student in {workspace.config.run_dir} was trained on data {trained}, but "
            f"{workspace.config.data.root} is {workspace.data.fingerprint}: another data set, or its "
            "annotations or split changed; nothing was generated. Give this data a run of its own: "
            "--set run_dir=ANOTHER"
        )


def training_data(workspace: Workspace) -> TrainingData:
    """The training and selection samples over the store's banks, after the leakage guard."""
    data, store = workspace.data, workspace.store.require()
    _require_same_data(workspace)
    select = [s for s in data.split("dev") if data.subset_of[s.verb] == "seen"]
    if not data.split("train"):
        raise UserError(
            f"{workspace.config.data.root} has no usable training picture; see why with "
            "`mipd-pipe check-data`"
        )
    config = workspace.config
    mined = _mined(workspace)
    teacher, mirror = config.student.distill, config.train.mirror
    train = _dataset(workspace, data.split("train"), teacher, mirror, mined=mined)
    if train.teacher:
        _require_rationales(workspace, train.teacher, [sample.image for sample in train.samples])
    selected = _dataset(workspace, tuple(select), teacher=False)
    if not len(selected):
        workspace.console.say(
            "note: the dev set has no picture of a seen verb, so the last epoch counts as the best"
        )
    for dataset in (train, selected):
        dataset.require_current(workspace.picture_digests(sample.image for sample in dataset.samples))
    return TrainingData(
        train=train,
        select=selected,
        labels=read_label_texts(store, data.vocabulary),
        vocabulary=data.vocabulary,
        subset_of=data.subset_of,
        fingerprint=_fingerprints(workspace, train) | ({"mined": fingerprint(mined)} if mined else {}),
        proof=refuse_leaks(store, train.samples, selected.samples, data.subset_of, leak_rule(data)),
        encoders=record_encoders(workspace),
    )


def _mined(workspace: Workspace) -> dict[str, list[str]]:
    """The pictures whose rationales are each training picture's hard negatives; none where not asked for."""
    config = workspace.config
    count = config.student.mined_negatives
    if not (count and config.student.distill and config.student.negatives):
        return {}
    if config.losses.contrast != "infonce" or config.student.as_released:
        raise UserError(
            f"student.mined_negatives {count} needs losses.contrast 'infonce' and student.as_released false: "
            "the hinge knows no mined negatives; set losses.contrast to 'infonce', or mined_negatives to 0"
        )
    return mine_negatives(workspace.store, {s.image: s.verb for s in workspace.data.split("train")}, count)


def _dataset(
    workspace: Workspace,
    samples: tuple[Sample, ...],
    teacher: bool,
    mirror: bool = False,
    vocabulary: Vocabulary | None = None,
    mined: Mapping[str, Sequence[str]] | None = None,
) -> StoreDataset:
    """Refuses, by exit 1, banks that lack more pictures than `max_failure_rate` allows."""
    vocabulary = vocabulary or workspace.data.vocabulary
    dataset = StoreDataset(workspace.store, samples, vocabulary, teacher, mirror, mined)
    missing, bound = len(dataset.missing), workspace.config.max_failure_rate
    if missing > bound * len(samples):
        raise FindingsError(
            f"the banks lack {missing} of {len(samples)} pictures, e.g. {dataset.missing[0]!r}, more than "
            f"max_failure_rate {bound:.1%}; make them with `mipd-pipe embed-teacher`, and see which pictures "
            "cannot be used with `mipd-pipe inspect rows --status failed`"
        )
    if missing:
        workspace.console.say(f"note: {missing} pictures are not in the banks and are left out")
    return dataset


def _require_rationales(workspace: Workspace, teacher: TeacherBanks, images: Sequence[str]) -> None:
    """The banks must be of the texts now accepted, and somebody must have said something."""
    texts = usable_texts(workspace.store, images)
    teacher.require_current(texts)
    silent = len(images) - sum(any(four) for four in texts.values())
    if silent == len(images):
        raise UserError(
            f"none of the {silent} training pictures has an accepted rationale, so there is nothing to "
            "distil; see why with `mipd-pipe inspect summary`, or set student.distill to false"
        )
    if silent:
        workspace.console.say(f"note: {silent} training pictures have no accepted rationale to learn from")


def _require_same_data(workspace: Workspace) -> None:
    recorded = load_manifest(workspace.store).data_fingerprint
    if recorded != workspace.data.fingerprint:
        raise UserError(
            f"the store at {workspace.store.root} was written for data {recorded or 'unknown'}, but "
            f"{workspace.config.data.root} is now {workspace.data.fingerprint}: annotations, vocabulary or "
            "split changed; bring the store up to date with `mipd-pipe generate-rationales` and "
            "`mipd-pipe embed-teacher`, which redo only what changed; or, where the store is the right one, "
            "give its data with `--set data.root=DIR`"
        )


def _fingerprints(workspace: Workspace, train: StoreDataset) -> dict[str, str]:
    """Of each thing a training step depends on. Banks count by the keys of the rows that are read."""
    manifest = load_manifest(workspace.store)
    images = [sample.image for sample in train.samples]
    banks = [train.vision]
    if train.teacher:
        banks += [train.teacher.vision, train.teacher.text]
    views = [train.mirrored, train.teacher and train.teacher.mirrored]
    banks += [view for view in views if view]
    marks = {"data": workspace.data.fingerprint}
    marks |= {f"labels {family}": manifest.current[family] for family in LABELS}
    for bank in banks:
        keys = [bank.row_keys.get(image, "") for image in images]
        marks[f"bank {bank.header.name}"] = fingerprint([bank.header.fingerprint, keys])
    return marks


def evaluate(
    workspace: Workspace,
    split: str = "test",
    per_verb: bool = False,
    confusion: bool = False,
    verbs: Path | None = None,
    text_model: str = "",
) -> Result:
    """`mipd-pipe evaluate`: writes the files of `evaluation_files`, returns the table.

    per_verb    adds the figures of each verb
    confusion   adds what the verbs recognised worst are taken for
    verbs       a file of other verbs to choose among; pictures of other verbs are left out
    text_model  where the text encoder lies, "" = where it lay at training
    """
    if split not in ("dev", "test"):
        allowed = ", ".join(name for name in get_args(Split) if name != "train")
        raise UserError(f"--split {split!r} is not one of {allowed}; training pictures are not evaluated on")
    config = workspace.config
    trained = load_student(config.run_dir / "student" / BEST)
    data = workspace.data
    samples = data.split("dev" if split == "dev" else "test")
    if not samples:
        raise UserError(f"the {split} split of {config.data.root} has no usable picture; see `check-data`")
    if verbs is None:
        require_same_labels(workspace, trained.facts)
        require_same_subsets(workspace, trained.facts)
        vocabulary, texts, subset_of = data.vocabulary, trained.labels, data.subset_of
    else:
        given = trained.facts, trained.labels, verbs, text_model
        asked = open_vocabulary(*given, encoder_device(config.train.device), workspace.console)
        vocabulary, texts = asked.vocabulary, asked.texts
        samples = asked_samples(samples, vocabulary, verbs, workspace.console)
        subset_of = asked_subsets(vocabulary, trained.facts)
    dataset = _measured(workspace, samples, vocabulary, trained.facts)
    device = choose_device(config.train.device)
    student = trained.student.to(device)
    labels = student.label_vectors(texts.to(device))
    with workspace.console.progress("evaluate", len(dataset)) as advance:
        evaluation = evaluate_student(
            student,
            labels,
            dataset,
            vocabulary,
            config.train.batch_size,
            device,
            config.train.num_workers,
            advance,
            open_nouns=config.evaluate.open_nouns,
        )
    subsets = [subset_of[verb] for verb in vocabulary.verbs]
    name: Split = "dev" if split == "dev" else "test"
    telling = tell(evaluation, vocabulary.verbs, subsets, name, config.evaluate)
    if verbs:
        telling.metrics["verb_list"] = verbs.name
    telling.metrics["data"] = {"evaluated": data.fingerprint, "trained": trained_on(trained.facts)}
    write_files(telling, config.run_dir, verbs.stem if verbs else "")
    figures = telling.metrics["harmonic_mean"]
    workspace.console.event("evaluated", split=split, harmonic_mean=figures)
    notes = [f"note: {note}" for note in data.notes if split == "test" and "test" in note]
    notes += other_data_notes(workspace, trained.facts, split)
    shown = show(telling, per_verb, confusion)
    return Result("\n".join([*notes, shown.text]), shown.data)


def evaluation_data(workspace: Workspace, facts: Mapping[str, Any], split: Split) -> StoreDataset:
    """The pictures and tokens of a split for a student with these facts, which must be of this data set.

    Raises UserError where they are not, or the store has no bank of the student's, or the split no picture.
    """
    require_same_labels(workspace, facts)
    require_same_subsets(workspace, facts)
    samples = workspace.data.split(split)
    if not samples:
        raise UserError(f"the {split} split of {workspace.config.data.root} has no usable picture")
    return _measured(workspace, samples, workspace.data.vocabulary, facts)


def _measured(
    workspace: Workspace, samples: Sequence[Sample], vocabulary: Vocabulary, facts: Mapping[str, Any]
) -> StoreDataset:
    """Rows are found by their pictures' names, so the store must be of this data set and these pictures."""
    _require_same_data(workspace)
    dataset = _dataset(workspace, tuple(samples), teacher=False, vocabulary=vocabulary)
    dataset.require_current(workspace.picture_digests(sample.image for sample in dataset.samples))
    require_same_encoder(dataset, facts)
    return dataset


def whereabouts(workspace: Workspace) -> str:
    """Where the results of a run lie."""
    run_dir = workspace.config.run_dir
    rows = read_rationales(workspace.store, ["image"]).filter("usable").height
    return "\n".join(
        [
            "",
            f"store       {workspace.store.root} ({rows} rationales)",
            f"checkpoint  {run_dir / 'student' / BEST}",
            f"metrics     {run_dir / 'metrics.json'}",
            f"predictions {run_dir / 'predictions.parquet'}",
        ]
    )
