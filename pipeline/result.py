"""What a command found: for a person as text, for a program as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Result:
    """`data` holds JSON values; `exit_code` is 1 where a check found faults."""

    text: str
    data: Any
    exit_code: int = 0

    def json_text(self) -> str:
        return json.dumps(self.data, indent=1, ensure_ascii=False)
