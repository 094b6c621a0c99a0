"""The files of a pretrained model, in a local folder or on the hub: found, named by content, read by tensor.

Weights are read from safetensors alone, and only the tensors asked for: the vision tower of a 15 GB
checkpoint costs the tower. Nothing is unpickled.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cache.errors import UserError
from cache.keys import digest_file, fingerprint
from stages.teacher.encoders import hf_hub
from stages.teacher.encoders.safetensors_file import read_header, tensor_digests

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
ENCODER = "openai/clip-vit-large-patch14"  # what a message names where an encoder is wanted
_PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")


@dataclass(frozen=True)
class Checkpoint:
    """A model's files.

    model     the folder or hub id as the user gave it, for messages
    folder    the local folder, or that of a hub model's commit in the local model cache
    revision  the commit of a hub model, so that all its files are of one version; None for a folder
    """

    model: str
    folder: Path
    revision: str | None

    def source(self, own_code: bool) -> dict[str, Any]:
        """Arguments that tell `from_pretrained` of transformers where the model is.

        The folder, once its files were found, because a hub id makes transformers ask the hub about files
        that no encoder needs, even if all is in the cache. A model's own code it must fetch by itself.
        """
        if self.revision is None or not own_code:
            return {"pretrained_model_name_or_path": str(self.folder), "local_files_only": True}
        return {
            "pretrained_model_name_or_path": self.model,
            "revision": self.revision,
            "local_files_only": hf_hub.is_silent(),
        }

    def find(self, name: str) -> Path | None:
        """A file that every model of its kind has, fetched where needed; None where this one has none.

        Raises HubUnreachableError where that cannot be known.
        """
        if self.revision is not None:
            return hf_hub.fetch(self.model, name, self.revision)
        path = self.folder / name
        return path if path.is_file() else None

    def find_optional(self, name: str) -> Path | None:
        """Like `find`, for a file that many models lack: an unreachable hub counts as lacking it.

        What is read from such a file has its own place in an encoder's identity, so a row made
        without it is never taken for a row made with it.
        """
        try:
            return self.find(name)
        except hf_hub.HubUnreachableError:
            return None

    def read_json(self, name: str) -> dict[str, Any] | None:
        """Contents of an optional JSON file; None where there is none, UserError where it is broken."""
        path = self.find_optional(name)
        if path is None:
            return None
        try:
            content = json.loads(path.read_bytes())
        except ValueError as reason:
            raise UserError(f"{path} is not JSON ({reason}); download {self.model} again") from None
        if not isinstance(content, dict):
            raise UserError(
                f"{path} holds a {type(content).__name__}, not an object; download {self.model} again"
            )
        return content

    def read_config(self) -> dict[str, Any]:
        """config.json with its `model_type`."""
        config = self.read_json("config.json")
        if config is None:
            raise UserError(
                f"{self.model} has no config.json, so it is not a model in the transformers layout; "
                f"name the folder that holds config.json and {WEIGHTS}, or a hub id"
            )
        if not isinstance(config.get("model_type"), str):
            raise UserError(f"config.json of {self.model} names no model_type; download the model again")
        return config

    def tensor_files(self) -> dict[str, str]:
        """Tensor name -> the file that holds it. Raises UserError where there are no safetensors weights."""
        index = self.read_json(INDEX)
        if index is not None:
            weight_map = index.get("weight_map")
            if not isinstance(weight_map, dict):
                raise UserError(f"{INDEX} of {self.model} has no weight_map; download the model again")
            return {str(name): str(file) for name, file in weight_map.items()}
        try:
            path = self.find(WEIGHTS)
        except hf_hub.HubUnreachableError:
            if self._pickled() is None:
                raise
            path = None
        if path is None:
            raise UserError(self._no_weights())
        return dict.fromkeys(read_header(path).tensors, WEIGHTS)

    def _pickled(self) -> str | None:
        if self.revision is None:
            return next((name for name in _PICKLED if self.find(name) is not None), None)
        return next((name for name in _PICKLED if hf_hub.exists(self.model, name, self.revision)), None)

    def _no_weights(self) -> str:
        pickled = self._pickled()
        if pickled is None:
            return (
                f"{self.model} has no weights: neither {WEIGHTS} nor {INDEX}; "
                "copy them beside config.json, or download the model again"
            )
        fetch = f"`hf download {self.model} --local-dir DIR`, set model to DIR, and " if self.revision else ""
        return (
            f"{self.model} has its weights only as pickles ({pickled}), which can run code and are never "
            f"opened here; {WEIGHTS} is needed. Either set revision to one that has it (on the hub often a "
            'pull request named "Adding `safetensors` variant of this model": revision refs/pr/NUMBER), or, '
            f"if you trust where it comes from, {fetch}convert it once, in its folder: "
            'python -c "import glob, torch; from safetensors.torch import save_file; '
            "files = [torch.load(f, weights_only=True) for f in glob.glob('pytorch_model*.bin')]; "
            "save_file({k: v.clone().contiguous() for f in files for k, v in f.items()}, "
            "'model.safetensors', {'format': 'pt'})\""
        )

    def fetch_weights(self) -> None:
        """Makes sure that every weights file is in the folder; says what to do where one is not."""
        self._by_file(self.tensor_files())

    def load(self, names: Iterable[str]) -> dict[str, Tensor]:
        """The named tensors on the CPU; opens only the files that hold them."""
        from safetensors import SafetensorError, safe_open

        tensors: dict[str, Tensor] = {}
        for path, wanted in self._by_file(names).items():
            read_header(path)  # names what is wrong with a half-downloaded file
            try:
                with safe_open(path, framework="pt") as file:
                    tensors.update((name, file.get_tensor(name)) for name in wanted)
            except SafetensorError as reason:
                raise UserError(f"{path} cannot be read ({reason}); download {self.model} again") from None
        return tensors

    def _by_file(self, names: Iterable[str]) -> dict[Path, list[str]]:
        files = self.tensor_files()
        groups: dict[str, list[str]] = {}
        for name in names:
            groups.setdefault(files[name], []).append(name)
        found: dict[Path, list[str]] = {}
        for file, wanted in groups.items():
            path = self.find(file)
            if path is None:
                raise UserError(
                    f"{self.model} lacks {file}, which holds {len(wanted)} of the tensors needed here "
                    f"(for example {wanted[0]}); copy it into the folder or download the model again"
                )
            found[path] = wanted
        return found

    def identity(self, tensors: Callable[[], Iterable[str]], files: Iterable[str] = ()) -> dict[str, str]:
        """Names the content that an encoder uses: those tensors, config.json and the named files.

        Hub: the id and the commit; `tensors` is not called, because that would fetch the weights.
        Folder: a fingerprint of contents, so that a copied, moved or re-sharded model is the same model;
        neither its path nor a time of change enters.
        """
        if self.revision is not None:
            return {"model": self.model, "revision": self.revision}
        contents = {name: digest_file(path) for name in ("config.json", *files) if (path := self.find(name))}
        digests: dict[str, str] = {}
        for path, wanted in self._by_file(tensors()).items():
            digests.update(tensor_digests(path, wanted))
        return {"model": "folder", "revision": fingerprint({"files": contents, "tensors": digests})}


def open_checkpoint(model: str, revision: str = "", example: str = ENCODER) -> Checkpoint:
    """Finds a model: a folder that exists is taken as such, anything else as a hub id.

    example   hub id that a message names as one of its kind

    The commit at which config.json of a hub model is found serves for all its files.
    Raises UserError where there is no such model, or the hub cannot be reached.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        if revision:
            raise UserError(
                f"revision {revision!r} is set, but {model} is a local folder, which has no other versions; "
                "leave revision empty"
            )
        return Checkpoint(model, folder.resolve(), None)
    if model.startswith((".", "~", os.sep)) or model.count("/") > 1:
        raise UserError(
            f"model folder {model} does not exist; give a folder that holds config.json and {WEIGHTS}, "
            f"or a hub id such as {example}"
        )
    config = hf_hub.fetch(model, "config.json", revision or "main")
    if config is None:
        raise UserError(
            f"hub model {model} has no config.json at revision {revision or 'main'!r}, so it is not a model "
            "in the transformers layout; check its name"
        )
    return Checkpoint(model, config.parent, config.parent.name)
