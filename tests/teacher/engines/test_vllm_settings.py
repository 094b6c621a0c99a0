from __future__ import annotations

from typing import Any

import pytest

from stages.teacher.engines.vllm_settings import FIXED, VllmSettings


def test_extra_arguments_are_handed_on_as_they_are() -> None:
    extra = {"quantization": "fp8", "kv_cache_dtype": "fp8", "max_num_batched_tokens": 8192}
    assert VllmSettings.model_validate({"extra": extra}).extra == extra


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"max_model_len": 8}, "max_model_len has a setting of its own beside `extra`; write it there"),
        ({"load_format": "pt"}, "load_format is fixed: weights are read from safetensors alone"),
        ({"structured_outputs_config": {}}, "is fixed: answers must obey a JSON schema; leave it out"),
        ({"hf_token": "x"}, "hf_token is fixed: it comes from the environment variable HF_TOKEN"),
    ],
)
def test_what_is_set_elsewhere_is_refused_as_an_extra(extra: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VllmSettings.model_validate({"extra": extra})


def test_nothing_that_is_fixed_is_also_a_setting() -> None:
    assert not FIXED.keys() & VllmSettings.model_fields.keys()
