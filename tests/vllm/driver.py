"""Drives a vLLM engine in a process of its own and reports on stdout, one JSON object a line.

vLLM seeds and pins the process it lives in, and some of these tests kill it, so pytest itself stays clear.
`python driver.py PLAN.json`; see `tests/vllm/conftest.py` for the plan.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from cache.errors import MachineError, UserError
from cache.keys import digest_file
from cache.kinds import KINDS
from stages.teacher.asking.prompt import answer_schema
from stages.teacher.engines.engine import Contrast, Engine, Prompt, Request
from stages.teacher.engines.ray_engine import RayEngine
from stages.teacher.engines.ray_settings import RaySettings
from stages.teacher.engines.vllm_engine import VllmEngine, open_vllm
from stages.teacher.engines.vllm_request import MAX_PIXELS
from stages.teacher.engines.vllm_settings import VllmSettings
from tests.teacher.examples import jumping, request

MAX_CHARS = 24  # a random model writes until it must stop


def say(event: str, **fields: Any) -> None:
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


def requests(plan: Iterable[dict[str, Any]]) -> Iterator[Request]:
    for item in plan:
        picture = Path(item["picture"])
        plain = request(jumping(), Contrast("diving", {"agent": "n00000003"}), seed=item["seed"])
        kinds = [kind for kind in KINDS if kind.field in item.get("fields", [kind.field for kind in KINDS])]
        prompt = plain.prompt
        if "question_words" in item:
            prompt = Prompt(prompt.system, prompt.shared, "why " * item["question_words"])
        yield replace(
            plain,
            key=item["key"],
            picture=picture,
            picture_digest=item.get("digest") or (digest_file(picture) if picture.is_file() else ""),
            prompt=prompt,
            schema=item.get("schema") or answer_schema(kinds, item.get("max_chars", MAX_CHARS)),
            greedy=item.get("greedy", False),
            token_factor=item.get("token_factor", 1),
        )


def act(engine: Engine, step: dict[str, Any]) -> None:
    """One step of a plan: load; load with other settings, to be refused; answer some requests; close."""
    if step["do"] == "refuse":
        refuse(engine, step["name"], step["settings"])
    elif step["do"] == "load":
        assert isinstance(engine, VllmEngine)
        engine.load()
    elif step["do"] == "answer":
        answers = engine.answer(requests(step["requests"]))
        for number, answer in enumerate(answers, start=1):
            say("answer", step=step["name"], **asdict(answer))
            if number == step.get("only"):
                break
    elif step["do"] == "close":
        engine.close()
    children = [child.pid for child in multiprocessing.active_children()]
    say("done", do=step["do"], children=children)


def refuse(engine: Engine, name: str, settings: dict[str, Any]) -> None:
    assert isinstance(engine, VllmEngine)
    other = VllmEngine(engine.settings.model_copy(update=settings))
    try:
        other.load()
    except UserError as reason:
        say("refused", name=name, text=str(reason))


def open_engine(plan: dict[str, Any]) -> Engine:
    settings = VllmSettings.model_validate(plan["settings"])
    if plan["ray"] is None:
        return open_vllm(settings, say=lambda line: say("said", line=line))
    ray_settings = RaySettings.model_validate(plan["ray"])
    return RayEngine(
        partial(VllmEngine, settings, MAX_PIXELS), ray_settings, lambda line: say("said", line=line)
    )


def main() -> int:
    plan = json.loads(Path(sys.argv[1]).read_bytes())
    engine = open_engine(plan)
    try:
        for step in plan["steps"]:
            act(engine, step)
    except (UserError, MachineError) as reason:
        say("error", text=str(reason), code=reason.exit_code)
        return reason.exit_code
    finally:
        engine.close()
    say("end")
    return 0


if __name__ == "__main__":
    sys.exit(main())
