"""RLDS, RoboNet, stable-worldmodel, LeRobot's pictures, and plain videos: sound and broken."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import av
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from framecast.data.episodes import EpisodeStore
from framecast.data.formats import open_recordings
from framecast.data.formats.example import encode_example
from framecast.data.formats.tfrecord import write_record
from tests.conftest import Outcome, moving_square, write_squares

Command = Callable[..., Outcome]
SMALL = ("--size", 64, "--split", "1,0,0")


def png(frame: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "PNG")
    return buffer.getvalue()


def video(frames: np.ndarray, format: str = "mp4", rate: int = 10) -> bytes:
    """Without loss."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=format) as container:
        stream = container.add_stream("libx264rgb", rate=rate)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "rgb24"
        stream.options = {"qp": "0"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def field(number: int, content: bytes) -> bytes:
    """A length-delimited protobuf field."""
    size, encoded = len(content), b""
    while size > 0x7F:
        encoded += bytes([size & 0x7F | 0x80])
        size >>= 7
    return bytes([number << 3 | 2]) + encoded + bytes([size]) + content


def rlds_record(seed: int, drop_action_numbers: int = 0) -> bytes:
    """An episode of the kind that Open X-Embodiment holds: a dictionary of actions."""
    square = moving_square(seed, num_frames=6)
    pictures = b"".join(field(1, png(frame)) for frame in square.frames)
    images = field(1, field(1, b"steps/observation/image") + field(2, field(1, pictures)))
    actions = np.concatenate([square.actions, np.zeros((1, 2), np.float32)])
    flat = actions.reshape(-1)[: actions.size - drop_action_numbers]
    numbers = encode_example(
        {
            "steps/action/world_vector": flat,
            "steps/action/gripper": np.arange(6, dtype=np.float32),
            "steps/observation/state": square.states,
            "steps/language_instruction": b"push",
        }
    )
    return field(1, images) + numbers


def test_rlds_episodes_with_a_dictionary_of_actions(tmp_path: Path, framecast: Command):
    root = tmp_path / "toy" / "1.0.0"
    root.mkdir(parents=True)
    for split, seeds in (("train", (0, 1)), ("val", (2,)), ("test", (3,))):
        with (root / f"toy-{split}.tfrecord-00000-of-00001").open("wb") as file:
            for seed in seeds:
                write_record(file, rlds_record(seed))
    done = framecast("import", tmp_path / "toy", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    store = EpisodeStore.open(tmp_path / "out", "train")
    assert store.spec.action.names == ("gripper", "world_vector_0", "world_vector_1")
    square, episode = moving_square(1, num_frames=6), store.episode(1)
    np.testing.assert_array_equal(episode.frames, square.frames)
    np.testing.assert_array_equal(episode.actions[:, 1:], square.actions)
    np.testing.assert_array_equal(episode.states, square.states)
    assert EpisodeStore.open(tmp_path / "out", "validation").num_episodes == 1


def test_rlds_numbers_that_do_not_fit_their_steps(tmp_path: Path, framecast: Command):
    file = tmp_path / "toy-train.tfrecord-00000-of-00001"
    with file.open("wb") as out:
        write_record(out, rlds_record(0))
        write_record(out, rlds_record(1, drop_action_numbers=1))
    line = framecast("import", file, "--out", tmp_path / "out").one_line()
    assert "record 1 at byte" in line
    assert "should be a multiple of its 6 steps, got 11" in line


def write_robonet(path: Path, seed: int, num_frames: int = 6) -> None:
    square = moving_square(seed, num_frames=6, num_actions=5)
    with h5py.File(path, "w") as file:
        file["env/state"] = np.tile(square.states, (1, 3))[:, :5]
        file["policy/actions"] = square.actions
        content = np.frombuffer(video(square.frames[:num_frames]), np.uint8)
        file["env/cam0_video/frames"] = content


def test_robonet_trajectories(tmp_path: Path, framecast: Command):
    folder = tmp_path / "sawyer"
    folder.mkdir()
    for seed in range(2):
        write_robonet(folder / f"traj{seed}.hdf5", seed)
    done = framecast("import", folder, "--out", tmp_path / "out", *SMALL)
    assert done.code == 0, done.err
    store = EpisodeStore.open(tmp_path / "out", "train")
    assert store.spec.action.names == ("dx", "dy", "dz", "dtheta", "gripper")
    square, episode = moving_square(1, num_frames=6, num_actions=5), store.episode(1)
    np.testing.assert_array_equal(episode.frames, square.frames)
    np.testing.assert_array_equal(episode.actions, square.actions)
    write_robonet(folder / "traj1.hdf5", 1, num_frames=4)
    line = framecast("import", folder, "--out", tmp_path / "out2").one_line()
    assert "traj1.hdf5: 'cam0' has 4 frames, but there are 6 states" in line


def write_swm(path: Path, lengths: list[int], offsets: list[int], rows: int = 12) -> None:
    random = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        pixels = random.integers(0, 256, (rows, 64, 64, 3)).astype(np.uint8)
        file.create_dataset("pixels", data=pixels, chunks=(4, 64, 64, 3), compression="gzip")
        file["action"] = random.normal(size=(rows, 2)).astype(np.float32)
        file["action"][lengths[0] - 1] = np.nan
        file["proprio"] = random.normal(size=(rows, 3)).astype(np.float32)
        file["ep_len"], file["ep_offset"] = np.int32(lengths), np.int64(offsets)


def test_stable_worldmodel_files_of_others(tmp_path: Path, framecast: Command):
    """Compressed, states under another name, and not a number where no action has an effect."""
    write_swm(tmp_path / "theirs.h5", [5, 7], [0, 5])
    done = framecast("import", tmp_path / "theirs.h5", "--out", tmp_path / "out", *SMALL)
    assert done.code == 0, done.err
    store = EpisodeStore.open(tmp_path / "out", "train")
    assert store.ep_len.tolist() == [5, 7]
    with h5py.File(tmp_path / "theirs.h5") as file:
        np.testing.assert_array_equal(store.pixels[:], file["pixels"][:])
        np.testing.assert_array_equal(store.state, file["proprio"][:])


@pytest.mark.parametrize(
    ("lengths", "offsets", "message"),
    [
        ([5, 7], [0, -5], "episode 1: offset -5 and length 7 lie outside"),
        ([5, 7], [0, 4], "episode 1: its offset 4 lies inside the episode before"),
        ([5, 7], [0, 6], "episode 1: offset 6 and length 7 lie outside"),
        ([5, -1], [0, 5], "episode 1: offset 5 and length -1 lie outside"),
        ([5, 0], [0, 2**62], "lie outside"),
    ],
)
def test_episodes_that_overlap_or_lie_outside(
    tmp_path: Path, framecast: Command, lengths: list[int], offsets: list[int], message: str
):
    write_swm(tmp_path / "bad.h5", lengths, offsets)
    out = tmp_path / "out"
    assert message in framecast("import", tmp_path / "bad.h5", "--out", out, *SMALL).one_line()
    done = framecast("import", tmp_path / "bad.h5", "--out", out, *SMALL, "--skip-broken")
    assert done.code == 0, done.err
    assert EpisodeStore.open(out, "train").num_episodes == 1


def test_hdf5_does_not_lead_out_of_its_file(tmp_path: Path, framecast: Command):
    write_swm(tmp_path / "secret.h5", [5, 7], [0, 5])
    write_swm(tmp_path / "bad.h5", [5, 7], [0, 5])
    with h5py.File(tmp_path / "bad.h5", "a") as file:
        del file["ep_len"]
        file["ep_len"] = h5py.ExternalLink("secret.h5", "ep_len")
    line = framecast(
        *("import", tmp_path / "bad.h5", "--format", "swm-hdf5", "--out", tmp_path / "out")
    ).one_line()
    assert "'ep_len' is a link" in line


def test_a_folder_of_videos_has_no_actions(tmp_path: Path, framecast: Command):
    """Names with spaces and letters beyond ASCII; a matroska among mp4s; one upside down."""
    folder = tmp_path / "Fäden & Knöpfe"
    folder.mkdir()
    squares = [moving_square(seed, num_frames=8) for seed in range(3)]
    (folder / "lauf 10.mp4").write_bytes(video(squares[2].frames))
    (folder / "lauf 2.mp4").write_bytes(video(squares[1].frames))
    (folder / "lauf 1.mkv").write_bytes(video(squares[0].frames, "matroska"))
    done = framecast("import", folder, "--out", tmp_path / "out", *SMALL, "--fps", 5)
    assert done.code == 0, done.err
    store = EpisodeStore.open(tmp_path / "out", "train")
    assert (store.spec.action.size, store.state, store.spec.fps) == (0, None, 5)
    for index, square in enumerate(squares):
        np.testing.assert_array_equal(store.episode(index).frames, square.frames[::2])
    (folder / "lauf 3.mp4").write_bytes(b"no video")
    assert "lauf 3.mp4 is not a video" in framecast("import", folder, "--out", "no").one_line()


def test_kth_persons_21_to_25_test(tmp_path: Path):
    frames = moving_square(0, num_frames=3).frames
    for name in ("person01_walking_d1_uncomp", "person20_boxing_d4", "person21_walking_d2_uncomp"):
        (tmp_path / f"{name}.avi").write_bytes(video(frames, "avi"))
    assert open_recordings(tmp_path).own_splits == ["train", "train", "test"]


def write_lerobot_pictures(root: Path, keys: tuple[str, str, str]) -> None:
    """A dataset whose camera is pictures in the table, under names of its own."""
    camera, state, action = keys
    square = moving_square(0, num_frames=6)
    (root / "meta").mkdir(parents=True)
    (root / "data/chunk-000").mkdir(parents=True)
    features = {
        camera: {"dtype": "image", "shape": [64, 64, 3]},
        state: {"dtype": "float32", "shape": [2], "names": ["x", "y"]},
        action: {"dtype": "float32", "shape": [2], "names": {"axes": ["dx", "dy"]}},
    }
    info = {
        "codebase_version": "v2.1",
        "fps": 10,
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "features": features,
    }
    (root / "meta/info.json").write_text(json.dumps(info))
    (root / "meta/episodes.jsonl").write_text('{"episode_index": 0, "length": 6}\n')
    cells = [{"bytes": png(frame), "path": None} for frame in square.frames]
    actions = np.concatenate([square.actions, np.zeros((1, 2), np.float32)])
    table = {camera: cells, state: square.states.tolist(), action: actions.tolist()}
    pq.write_table(pa.table(table), root / "data/chunk-000/episode_000000.parquet")


@pytest.mark.parametrize(
    ("keys", "options"),
    [
        (("image", "state", "actions"), ()),
        (("eye", "joints", "wish"), ("--action-key", "wish", "--state-key", "joints")),
    ],
)
def test_lerobot_pictures_and_names_of_its_own(
    tmp_path: Path, framecast: Command, keys: tuple[str, str, str], options: tuple[str, ...]
):
    write_lerobot_pictures(tmp_path / "bot", keys)
    done = framecast("import", tmp_path / "bot", "--out", tmp_path / "out", *SMALL, *options)
    assert done.code == 0, done.err
    assert f"actions from '{keys[2]}'" in done.out
    episode = EpisodeStore.open(tmp_path / "out", "train").episode(0)
    np.testing.assert_array_equal(episode.frames, moving_square(0, num_frames=6).frames)
    np.testing.assert_array_equal(episode.states, moving_square(0, num_frames=6).states)


def test_a_dataset_is_imported_again_at_another_size(tmp_path: Path, framecast: Command):
    source = write_squares(tmp_path / "squares")
    done = framecast("import", source, "--out", tmp_path / "out", "--size", 32, "--fps", 2.5)
    assert done.code == 0, done.err
    store = EpisodeStore.open(tmp_path / "out", "test")
    assert store.pixels.shape[1:] == (32, 32, 3)
    assert store.spec.action.names == ("d0", "d1")
    np.testing.assert_allclose(
        store.episode(0).actions, moving_square(6).actions[:10].reshape(5, 2, 2).sum(axis=1)
    )
