"""What a store lists: its finished files, and what is in force of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

PartKind = Literal["rationales", "quarantine", "bank", "vectors", "labels", "index"]


@dataclass(frozen=True, slots=True)
class Part:
    """One finished file.

    path         relative to the store
    name         bank or vector family; "" for rationales and quarantine
    fingerprint  of the settings that decide the part's contents (a bank's header); "" where rows carry keys
    checksum     blake2b-128 of the file's bytes
    producer     what wrote it: command, version, and whatever else helps to explain it later; most parts of a
                 store have the same one, which the manifest keeps once
    measured     what was found out about this part alone while it was written, as a shard's fidelity
    """

    path: str
    kind: PartKind
    name: str
    rows: int
    bytes: int
    checksum: str
    fingerprint: str
    written_at: str
    producer: dict[str, Any]
    measured: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Manifest:
    """Parts in the order they were finished; for the same picture a later row replaces an earlier one.

    current   bank or vector family -> fingerprint in force
    """

    data_fingerprint: str = ""
    held_out_verbs: tuple[str, ...] = ()
    current: dict[str, str] = field(default_factory=dict)
    parts: tuple[Part, ...] = ()

    def of(self, kind: PartKind, name: str = "") -> list[Part]:
        return [part for part in self.parts if part.kind == kind and part.name == name]

    def of_kind(self, kind: PartKind) -> list[Part]:
        return [part for part in self.parts if part.kind == kind]

    def in_force(self, kind: PartKind, name: str) -> list[Part]:
        """The parts of a bank or family that were written with the settings now in force."""
        fingerprint = self.current.get(name)
        return [part for part in self.of(kind, name) if part.fingerprint == fingerprint]
