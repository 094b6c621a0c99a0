"""The model card of an export: what it is, what it was made of, how good and how fast, how to use it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.table import render
from stages.data.sample import SUBSETS
from stages.student.exporting.export_folder import LABEL_GRAPH, RECOGNISE, SITUATE, VISION

_SHOWN = (("top1", "verb"), ("top1", "value"), ("top1", "grnd"), ("gt", "value"), ("gt", "grnd"))
_GRAPHS = {
    LABEL_GRAPH: ("text [N, E]", "vector [N, d]: text embeddings of labels in the student's width"),
    RECOGNISE: ("vision [B, Q, Ds], verbs [V, d]", "memory [B, Q, d], verb [B, d], verb_logits [B, V]"),
    SITUATE: (
        "memory, verb [B, d], roles [B, 6, d], role_mask [B, 6], nouns [N, d]",
        "role_vectors [B, 6, d], noun_logits [B, 6, C], open_logits [B, 6, N], boxes [B, 6, 4] (cx cy w h in "
        "0..1 of the frame), box_logits [B, 6] (0 or more: there is a box)",
    ),
    VISION: ("frames [B, S, S, 3] uint8, RGB", "tokens [B, Q, Ds]"),
}


def model_card(facts: Mapping[str, Any]) -> str:
    """Markdown; `facts` as `export.json` holds them, but for the list of files."""
    sections = [_head, _use, _graphs, _data, _figures, _parity, _latency, _licences]
    return "\n\n".join("\n".join(section(facts)) for section in sections) + "\n"


def figure_lines(figures: Mapping[str, Any]) -> Iterator[str]:
    """The figures of the export and their change against PyTorch's, for a terminal."""
    yield "dev set, in percent; in brackets the change against PyTorch in fp32"
    yield render(*_figure_table(figures))


def _head(facts: Mapping[str, Any]) -> Iterator[str]:
    numbers = "weights in int8, activations quantised as they come" if facts["quantised"] else "fp32"
    checkpoint = facts["checkpoint"]
    yield "# A student for grounded situation recognition"
    yield ""
    yield (
        "Says of a picture which activity it shows, what fills each of the activity's roles, and where. "
        "Trained by [MIPD](https://arxiv.org/abs/2507.14686), Multimodal Interactive Prompt Distillation, "
        f"with mipd-pipe; epoch {checkpoint['epoch']}, step {checkpoint['step']}; {numbers}."
    )


def _use(facts: Mapping[str, Any]) -> Iterator[str]:
    yield "## Use"
    yield ""
    yield "```console"
    yield "$ mipd-pipe predict PICTURE --checkpoint THIS_FOLDER --draw drawn"
    yield "$ mipd-pipe predict PICTURE --checkpoint THIS_FOLDER --verbs my_verbs.yaml"
    yield "```"
    yield ""
    yield (
        "Verbs, roles and nouns are inputs, as vectors of their texts, so any verb with up to six roles of "
        "any name can be asked for. `labels.safetensors` holds the text embeddings of the verbs, roles and "
        "nouns of the training and, where the student is calibrated, `verb_bias`, to be added to "
        "`verb_logits` before verbs are ranked, as `mipd-pipe predict` does; `export.json` holds their "
        "names, the settings of both encoders and how a picture is laid into the frame. The picture is read "
        "as it is stored: an orientation in its EXIF data is not applied."
    )


def _graphs(facts: Mapping[str, Any]) -> Iterator[str]:
    with_vision = "vision" in facts["parity"]
    shapes = facts["checkpoint"]
    yield "## Graphs"
    yield ""
    yield from _table(
        ("file", "inputs", "outputs"),
        [(name, *sides) for name, sides in _GRAPHS.items() if name != VISION or with_vision],
    )
    yield ""
    geometry = shapes["geometry"]
    tokens = geometry["class_tokens"] + geometry["rows"] * geometry["cols"]
    yield (
        f"B, V and N take any size; Q = {tokens}, Ds = {shapes['vision_dim']}, "
        f"d = {shapes['student']['dim']}, S = {geometry['size']}, C = {len(shapes['nouns'])} noun classes."
        + ("" if with_vision else " The vision encoder is not part of this export.")
    )


def _data(facts: Mapping[str, Any]) -> Iterator[str]:
    checkpoint = facts["checkpoint"]
    proof, counts = checkpoint["proof"], Counter(checkpoint["subset_of"].values())
    yield "## Data"
    yield ""
    yield f"* Fingerprint of annotations, vocabulary and split: `{checkpoint['fingerprint']['data']}`."
    yield (
        f"* {proof['training_pictures']} training pictures; the best epoch was chosen on "
        f"{proof['selection_pictures']} dev pictures of seen verbs."
    )
    subsets = ", ".join(f"{counts[name]} {name}" for name in SUBSETS)
    yield f"* {len(checkpoint['subset_of'])} verbs: {subsets}."
    yield (
        f"* Proven before training: none of the {len(proof['held_out_verbs'])} unseen verbs is in the "
        f"training or the selection pictures, or named in any of {proof['rationales_checked']} rationales."
    )


def _figures(facts: Mapping[str, Any]) -> Iterator[str]:
    yield "## Figures"
    yield ""
    if not facts["figures"]:
        yield "Not measured at the export: the data set and its store were not at hand, or not asked for."
        return
    trained, measured = facts["checkpoint"]["fingerprint"]["data"], facts.get("measured_on")
    if measured not in (None, trained):
        yield f"These are of another data set than the student was trained on: `{measured}`."
        yield ""
    samples = facts["figures"]["exported"]["subsets"]["all"]["samples"]
    yield (
        f"On the dev set, {samples} pictures, in percent, averaged per verb and then over verbs; in brackets "
        "the change against PyTorch in fp32."
    )
    yield ""
    yield from _table(*_figure_table(facts["figures"]))


def _parity(facts: Mapping[str, Any]) -> Iterator[str]:
    yield "## Parity with PyTorch"
    yield ""
    yield "Largest difference of any number, in fp32; above 1e-4 there would be no export."
    yield ""
    rows = [
        (kind, name, f"{value:.2g}")
        for kind, found in facts["parity"].items()
        for name, value in found.items()
    ]
    yield from _table(("part", "output", "difference"), rows)
    if small := facts.get("int8"):
        yield ""
        yield (
            f"Then quantised: {small['bytes_before']} bytes of graphs became {small['bytes_after']}; what "
            "that changes is in the figures above."
        )


def _latency(facts: Mapping[str, Any]) -> Iterator[str]:
    latency = facts["latency"]
    yield "## Latency"
    yield ""
    yield (
        f"One picture at a time by onnxruntime, {latency['runs']} calls, on {latency['cpu']} "
        f"(threads: {latency['threads']}); in milliseconds. The student answers with the situation of "
        f"the likeliest of {len(facts['checkpoint']['verbs'])} verbs."
    )
    yield ""
    rows = [(kind, *latency[kind].values()) for kind in ("student", "vision") if kind in latency]
    yield from _table(("part", "p50", "p90", "p99"), rows)


def _licences(facts: Mapping[str, Any]) -> Iterator[str]:
    yield "## Licences of the parts"
    yield ""
    yield from _table(
        ("part", "licence"),
        [
            ("code of mipd-pipe", "Apache-2.0"),
            *((f"{kind} encoder", licence) for kind, licence in facts["licences"].items()),
            ("pictures and annotations of the training", "not recorded; that of the data set"),
        ],
    )


def _figure_table(figures: Mapping[str, Any]) -> tuple[Sequence[str], list[Sequence[str]]]:
    rows: list[Sequence[str]] = []
    for subset in ("all", *SUBSETS):
        ours, theirs = (figures[of]["subsets"][subset] for of in ("pytorch", "exported"))
        cells = [(ours[setting][name], theirs[setting][name]) for setting, name in _SHOWN]
        rows.append((subset, *(f"{_percent(there)} ({_change(here, there)})" for here, there in cells)))
    return ("verbs", *(f"{setting} {name}" for setting, name in _SHOWN)), rows


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _change(ours: float | None, theirs: float | None) -> str:
    return "-" if ours is None or theirs is None else f"{theirs - ours:+.2f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(str(cell).replace('|', '/') for cell in row)} |"
