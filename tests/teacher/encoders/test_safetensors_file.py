from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from cache.errors import UserError
from stages.teacher.encoders.safetensors_file import _sampled_spans, read_header, tensor_digests


def write(path: Path, **tensors: torch.Tensor) -> Path:
    save_file(tensors, path, {"format": "pt"})
    return path


def test_header_lists_the_tensors_and_where_their_data_begin(tmp_path: Path) -> None:
    path = write(tmp_path / "m.safetensors", a=torch.arange(4.0), b=torch.ones(2, 3))
    header = read_header(path)
    assert set(header.tensors) == {"a", "b"}
    begin, end = header.tensors["a"]["data_offsets"]
    data = path.read_bytes()[header.start + begin : header.start + end]
    assert torch.frombuffer(bytearray(data), dtype=torch.float32).tolist() == [0, 1, 2, 3]


def test_digest_follows_values_type_and_shape_but_not_the_file(tmp_path: Path) -> None:
    base = torch.arange(6.0)
    one = tensor_digests(write(tmp_path / "1", x=base, other=torch.ones(5)), ["x"])
    assert one == tensor_digests(write(tmp_path / "2", x=base), ["x"])
    for n, changed in enumerate((base + 1e-6, base.double(), base.view(2, 3))):
        assert one != tensor_digests(write(tmp_path / f"c{n}", x=changed), ["x"])


def test_a_long_tensor_is_sampled_from_end_to_end(tmp_path: Path) -> None:
    base = torch.zeros(100_000)
    digest = tensor_digests(write(tmp_path / "0", x=base), ["x"])
    for place in (0, -1):
        changed = base.clone()
        changed[place] = 1
        assert tensor_digests(write(tmp_path / f"c{place}", x=changed), ["x"]) != digest


@given(st.integers(0, 10**9))
def test_sampled_spans_stay_inside_and_reach_both_ends(size: int) -> None:
    spans = _sampled_spans(size)
    assert spans[0][0] == 0
    assert sum(spans[-1]) == size
    assert all(a + n <= b for (a, n), (b, _) in pairwise(spans))
    assert sum(length for _, length in spans) == min(size, 16384)


def test_a_stopped_download_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "m.safetensors", a=torch.zeros(1000))
    whole = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match=rf"has {whole - 10} bytes where its header says {whole}.*again"):
        read_header(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        b"\x02" + bytes(7) + b"[]",
        b"\x04" + bytes(7) + b"oops",
    ],
)
def test_other_files_in_place_of_weights_are_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"m\.safetensors is not a safetensors file .*Git LFS pointer.*again"):
        read_header(path)


def test_a_tensor_that_only_the_index_knows_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "m.safetensors", a=torch.zeros(1))
    with pytest.raises(UserError, match="lacks the tensor b that its index promises"):
        tensor_digests(path, ["b"])
