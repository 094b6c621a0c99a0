"""YAML to typed settings, strict: every mistake is answered at once, each with its dotted path."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, Field, ValidationError

from cache.errors import UserError
from stages.data.settings import DataSettings
from stages.settings import PathSetting, Settings
from stages.student.measuring.evaluation_settings import EvaluationSettings
from stages.student.settings import LossSettings, StudentSettings, TrainSettings
from stages.teacher.embed_settings import EmbedSettings
from stages.teacher.settings import TeacherSettings


class Config(Settings):
    """Everything a run obeys."""

    run_dir: PathSetting
    """Folder of the run: store, student, metrics, events."""
    store_dir: PathSetting | None = None
    """Folder of the store; null = run_dir/store. Give another run's store to train on it again."""
    max_failure_rate: float = Field(default=0.05, ge=0.0, le=1.0)
    """Share of pictures that may fail before a stage ends with exit 1; what finished is kept either way."""
    data: DataSettings
    teacher: TeacherSettings = TeacherSettings()
    embed: EmbedSettings = EmbedSettings()
    student: StudentSettings = StudentSettings()
    losses: LossSettings = LossSettings()
    train: TrainSettings = TrainSettings()
    evaluate: EvaluationSettings = EvaluationSettings()

    @property
    def store(self) -> Path:
        return self.store_dir or self.run_dir / "store"


class _Loader(yaml.SafeLoader):
    """Reads 1e-3 as the number it is; PyYAML, which keeps to YAML 1.1, takes it for text without a point."""


class _Dumper(yaml.SafeDumper):
    """Quotes a text that `_Loader` would take for a number."""


_EXPONENT = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$")
for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+.0123456789"))


def load_config(source: Path | None, assignments: Sequence[str] = ()) -> Config:
    """Reads a config file (None: the embedded demo) and applies ``dotted.key=value`` assignments.

    A file that does not exist but bears the name of an embedded config, with or without a folder and
    ``.yaml``, is that config. Raises UserError that lists every mistake.
    """
    name, text = _read(source)
    try:
        _refuse_repeats(name, text)
        fields = yaml.load(text, _Loader)
    except yaml.YAMLError as reason:
        raise UserError(f"{name} is not YAML: {reason}") from None
    if not isinstance(fields, dict):
        raise UserError(f"{name} must hold keys and values, it holds {type(fields).__name__}")
    for assignment in assignments:
        _assign(fields, assignment)
    _keep_own_root(fields, assignments)
    try:
        return Config.model_validate(fields)
    except ValidationError as found:
        lines = [_explain(error, Config) for error in found.errors(include_url=False)]
        count = "1 mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
        raise UserError(
            f"{name}: {count} in the configuration\n" + "\n".join(f"  {x}" for x in lines)
        ) from None


def _refuse_repeats(name: str, text: str) -> None:
    """Raises UserError that lists every key that stands twice in a section; PyYAML takes the last one."""
    repeats = [
        f"  line {line}: {path} stands in line {first} already"
        for path, first, line in _repeats(yaml.compose(text, _Loader), (), set())
    ]
    if repeats:
        raise UserError(
            f"{name}: keys that stand twice, of which the last would win in silence; keep one of each\n"
            + "\n".join(repeats)
        )


def _repeats(node: yaml.Node | None, path: tuple[str, ...], seen: set[int]) -> Iterator[tuple[str, int, int]]:
    """Dotted path, line of the first and line of the later one, of every repeated key below a node."""
    if not isinstance(node, yaml.CollectionNode) or id(node) in seen:  # an alias may lead in a circle
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for part in node.value:
            yield from _repeats(part, path, seen)
        return
    lines: dict[str, int] = {}
    for key, value in node.value:
        here = (*path, str(key.value))
        line = key.start_mark.line + 1
        if here[-1] in lines:
            yield ".".join(here), lines[here[-1]], line
        lines.setdefault(here[-1], line)
        yield from _repeats(value, here, seen)


def _keep_own_root(fields: dict[str, Any], assignments: Sequence[str]) -> None:
    """A root named on the command line is the user's own: a typo in it must not draw the demo data there."""
    named = {assignment.partition("=")[0].strip() for assignment in assignments}
    if "data.root" in named and "data.demo_images" not in named:
        fields["data"]["demo_images"] = 0


def embedded_configs() -> dict[str, str]:
    """Name -> text of the configs that ship with the package."""
    folder = files("configs")
    return {
        entry.name.removesuffix(".yaml"): entry.read_text(encoding="utf-8")
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".yaml")
    }


def dump_config(config: Config) -> str:
    """The resolved configuration as YAML that `load_config` reads back to an equal Config."""
    return yaml.dump(config.model_dump(mode="json"), Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def _read(source: Path | None) -> tuple[str, str]:
    embedded = embedded_configs()
    if source is None:
        return "the embedded demo config", embedded["demo"]
    try:
        return str(source), source.read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError):
        name = source.name.removesuffix(".yaml")
        if name in embedded:
            return f"the embedded config {name}", embedded[name]
        raise UserError(
            f"no config file {source}; give a file, or one of the embedded configs: {', '.join(embedded)}"
        ) from None
    except (OSError, UnicodeDecodeError) as reason:
        raise UserError(f"config file {source} cannot be read: {reason}") from None


def _assign(fields: dict[str, Any], assignment: str) -> None:
    """Puts ``a.b=value`` into nested fields; the value is read as YAML, so numbers and lists work."""
    path, equals, text = assignment.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise UserError(f"--set {assignment!r} is not of the form dotted.key=value, e.g. train.epochs=3")
    node = fields
    for i, key in enumerate(keys[:-1]):
        inner = node.setdefault(key, {})
        if not isinstance(inner, dict):
            raise UserError(f"--set {assignment!r}: {'.'.join(keys[: i + 1])} is a value, not a section")
        node = inner
    try:
        _refuse_repeats(f"--set {assignment!r}", text)
        node[keys[-1]] = yaml.load(text, _Loader)
    except yaml.YAMLError as reason:
        raise UserError(f"--set {assignment!r}: the value is not YAML: {reason}") from None


def _explain(error: Any, model: type[BaseModel]) -> str:
    """One line: dotted path, what was given, what is allowed, and for an unknown key the nearest known."""
    location: tuple[str | int, ...] = error["loc"]
    path = ".".join(map(str, location))
    if error["type"] == "extra_forbidden":
        known = list(_section(model, location[:-1]).model_fields)
        near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
        return f"{path}: unknown key; {hint}"
    if error["type"] == "missing":
        return f"{path}: missing; it has no default, set it in the file or with --set {path}=VALUE"
    message = error["msg"].removeprefix("Value error, ")
    return f"{path}: {error['input']!r} is not allowed: {message[0].lower()}{message[1:]}"


def _section(model: type[BaseModel], path: Sequence[str | int]) -> type[BaseModel]:
    """The settings class at a dotted path, seen through optional and list types."""
    for key in path:
        field = model.model_fields.get(str(key))
        candidates: list[Any] = [] if field is None else [field.annotation, *get_args(field.annotation)]
        model = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), model)
    return model
