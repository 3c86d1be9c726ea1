"""Training state on disk: whole or not used."""

import resource
import signal

import numpy as np
import pytest
from safetensors.numpy import save_file

from model.checkpoint import Checkpoint, CheckpointError, load_checkpoint, save_checkpoint


def checkpoint(value, size=1000):
    weights = [np.full((size,), value, np.float32), np.arange(3, dtype=np.float32)]
    return Checkpoint(
        {"weights": weights, "statistics": [np.float32(value).reshape(())]}, {"step": value, "loss": 0.25}
    )


def test_what_was_saved_comes_back(tmp_path):
    save_checkpoint(tmp_path, 7, checkpoint(7))
    loaded, warnings = load_checkpoint(tmp_path)
    assert warnings == []
    assert loaded.progress == {"step": 7, "loss": 0.25}
    for name, values in checkpoint(7).groups.items():
        for value, there in zip(values, loaded.groups[name], strict=True):
            np.testing.assert_array_equal(value, there)
            assert value.shape == there.shape


def test_none_is_none(tmp_path):
    assert load_checkpoint(tmp_path / "nowhere") == (None, [])


def test_the_newest_two_are_kept(tmp_path):
    for step in (5, 50, 1000):
        save_checkpoint(tmp_path, step, checkpoint(step))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "step-000000050.safetensors",
        "step-000001000.safetensors",
    ]
    assert load_checkpoint(tmp_path)[0].progress["step"] == 1000


@pytest.mark.parametrize("damage", [lambda content: content[:-100], lambda content: content[:-9] + b"x" + content[-8:]])
def test_a_damaged_one_is_passed_over_with_a_warning(tmp_path, damage):
    save_checkpoint(tmp_path, 1, checkpoint(1))
    newest = save_checkpoint(tmp_path, 2, checkpoint(2))
    newest.write_bytes(damage(newest.read_bytes()))
    loaded, warnings = load_checkpoint(tmp_path)
    assert loaded.progress["step"] == 1
    assert len(warnings) == 1
    assert str(newest) in warnings[0]


def test_a_foreign_file_in_its_place_is_passed_over(tmp_path):
    save_checkpoint(tmp_path, 1, checkpoint(1))
    save_file({"weight": np.zeros(3, np.float32)}, tmp_path / "step-000000002.safetensors")
    loaded, warnings = load_checkpoint(tmp_path)
    assert loaded.progress["step"] == 1
    assert "step-000000002" in warnings[0]


def test_what_a_kill_left_half_written_goes_with_the_next_one(tmp_path):
    half = tmp_path / ".step-000000001.safetensors.k3j2"
    half.write_bytes(bytes(100))
    assert load_checkpoint(tmp_path) == (None, [])
    path = save_checkpoint(tmp_path, 2, checkpoint(2))
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_but_damage_is_an_error(tmp_path):
    for step in (1, 2):
        save_checkpoint(tmp_path, step, checkpoint(step)).write_bytes(b"")
    with pytest.raises(CheckpointError, match="none of its checkpoints can be read"):
        load_checkpoint(tmp_path)


def test_a_disk_without_room_is_told_and_the_checkpoint_before_is_kept(tmp_path):
    save_checkpoint(tmp_path, 1, checkpoint(1))
    # A limit on the size of files is refused by the kernel in the middle of the writing, as a full disk is.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(CheckpointError, match=r"step 2 could not be saved.*run the same command again"):
            save_checkpoint(tmp_path, 2, checkpoint(2, size=100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000001.safetensors"]
    assert load_checkpoint(tmp_path)[0].progress["step"] == 1
