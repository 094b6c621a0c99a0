from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from stages.data.settings import DataSettings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"unseen_share": 0.6, "rare_share": 0.4}, "unseen_share 0.6 + rare_share 0.4 leave no verb seen"),
        ({"unseen_share": -0.1}, "greater than or equal to 0"),
        ({"max_image_pixels": 0}, "greater than or equal to 1"),
        ({"max_image_pixels": 10**9}, "less than or equal to 178956970"),
        (
            {"split_by": "files", "unseen_verbs_file": "x"},
            "unseen_verbs_file is given, but split_by 'files' would",
        ),
        ({"split_by": "frequencies"}, "'auto', 'files', 'list', 'frequency' or 'none'"),
        ({"demo_images": "10"}, "valid integer"),
        ({"rooot": "x"}, "Extra inputs are not permitted"),
    ],
)
def test_an_impossible_value_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        DataSettings(root=Path("swig"), **values)
    assert message in str(caught.value)


def test_every_field_is_explained() -> None:
    for name, field in DataSettings.model_fields.items():
        if name != "root":
            assert field.description, name
