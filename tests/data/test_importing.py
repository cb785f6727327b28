"""Import of real and broken recordings, through the real command."""

from __future__ import annotations

import errno
import io
import itertools
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from framecast.data import shards
from framecast.data.episodes import EpisodeStore
from framecast.data.formats.base import Keys
from framecast.data.formats.lerobot import FIELDS
from framecast.data.formats.lerobot_meta import LeRobotMeta
from framecast.data.geometry import Geometry
from framecast.data.resampling import compose_actions, keep_every
from framecast.data.windows import Windows
from framecast.errors import UserError
from tests.conftest import Outcome

Command = Callable[..., Outcome]


def made_up_positions() -> np.ndarray:
    """The real BAIR clip comes without positions; these are invented."""
    return np.cumsum(np.full((30, 3), 0.01, np.float32), axis=0)


def pack_as_course(sample: Path, root: Path, splits: tuple[str, ...] = ("train",)) -> Path:
    """The real BAIR clip in the course's folders; its positions are made up."""
    arrays = np.load(sample)
    for number, split in enumerate(splits):
        folder = root / split / "traj_0_to_255.tfrecords" / str(number)
        folder.mkdir(parents=True)
        (folder / ".DS_Store").write_bytes(b"junk")
        for step, image in enumerate(arrays["aux1_image"].astype(np.uint8)):
            Image.fromarray(image).save(folder / f"{step}.png")
        np.savetxt(folder / "actions.csv", arrays["action"], delimiter=",", fmt="%.9g")
        positions = made_up_positions()
        np.savetxt(folder / "endeffector_positions.csv", positions, delimiter=",", fmt="%.9g")
    return root


def test_the_bair_clip_is_the_same_from_npz_and_from_course_folders(
    bair: Path, tmp_path: Path, framecast: Command
):
    course = pack_as_course(bair, tmp_path / "course")
    assert framecast("import", bair, "--out", tmp_path / "a").code == 0
    assert framecast("import", course, "--out", tmp_path / "b").code == 0
    real = np.load(bair)
    from_npz, from_course = (
        EpisodeStore.open(tmp_path / name, "train").episode(0) for name in ("a", "b")
    )
    np.testing.assert_array_equal(from_npz.frames, real["aux1_image"])
    np.testing.assert_array_equal(from_course.frames, real["aux1_image"])
    np.testing.assert_allclose(from_npz.actions, real["action"][:-1], rtol=1e-6)
    np.testing.assert_allclose(from_course.actions, real["action"][:-1], rtol=1e-6)
    assert from_npz.states is None
    np.testing.assert_allclose(from_course.states, made_up_positions(), rtol=1e-6)


def test_course_splits_are_kept_whatever_their_names(
    bair: Path, tmp_path: Path, framecast: Command
):
    course = pack_as_course(bair, tmp_path / "course", ("train", "val", "test"))
    assert framecast("import", course, "--out", tmp_path / "out").code == 0
    names = {file.stem for file in (tmp_path / "out").iterdir()}
    assert names == {"train", "validation", "test"}


def test_real_g1_recordings_keep_every_third_frame_with_the_last_command_between(
    two_g1_episodes: Path, tmp_path: Path, framecast: Command
):
    out = tmp_path / "out"
    done = framecast("import", two_g1_episodes, "--out", out, "--fps", 10, "--split", "1,0,0")
    assert done.code == 0, done.err
    store = EpisodeStore.open(out, "train")
    assert store.spec.fps == 10
    assert store.spec.action.names[0] == "kLeftShoulderPitch"
    for number in range(2):
        table = pq.read_table(
            two_g1_episodes / f"data/chunk-000/episode_{number:06d}.parquet"
        ).to_pydict()
        episode = store.episode(number)
        states, actions = np.array(table["observation.state"]), np.array(table["action"])
        assert len(episode.frames) == -(-len(states) // 3)
        np.testing.assert_allclose(episode.states, states[::3], rtol=1e-6)
        expected = actions[2 : 3 * (len(episode.frames) - 1) : 3]
        np.testing.assert_allclose(episode.actions, expected, rtol=1e-6)
    video = "videos/chunk-000/observation.images.cam_high/episode_000000.mp4"
    with av.open(str(two_g1_episodes / video)) as container:
        decoded = itertools.islice(container.decode(video=0), 7)
        frames = [frame.to_ndarray(format="rgb24") for frame in decoded]
    square = Image.fromarray(frames[6]).crop((80, 0, 560, 480))
    expected_frame = np.asarray(square.resize((64, 64), Image.Resampling.BOX), int)
    assert np.abs(store.episode(0).frames[2].astype(int) - expected_frame).max() <= 1


def test_the_action_index_cannot_be_off_by_one(tmp_path: Path, framecast: Command):
    """Frame t + 1 shows the sum of all actions up to t: any other index is seen at once."""
    actions = np.arange(1, 20, dtype=np.float32)[:, None] % 5
    levels = np.concatenate([[0], np.cumsum(actions[:-1, 0])]).astype(np.uint8)
    image = np.broadcast_to(levels[:, None, None, None], (19, 16, 16, 3))
    np.savez(tmp_path / "traj_00000.npz", image=image, action=actions)
    for fps in (5, 2.5):
        out = tmp_path / f"out{fps}"
        source = tmp_path / "traj_00000.npz"
        assert framecast("import", source, "--out", out, "--size", 16, "--fps", fps).code == 0
        episode = EpisodeStore.open(out, "train").episode(0)
        seen = episode.frames[:, 0, 0, 0].astype(float)
        np.testing.assert_array_equal(np.diff(seen), episode.actions[:, 0])
        windows = Windows(EpisodeStore.open(out, "train"), 4)
        clip = windows.at(windows.starts)
        steps = np.diff(clip.frames[:, :, 0, 0, 0].numpy().astype(float), axis=0)
        np.testing.assert_array_equal(steps, clip.actions[:, :, 0].numpy())
        assert (steps[1:] != clip.actions[:-1, :, 0].numpy()).any()  # a shift would be seen


def test_displacements_add_up_and_targets_take_the_last():
    actions = np.arange(14, dtype=np.float32).reshape(7, 2)
    composed = compose_actions(actions, 3, ("displacement", "target"))
    np.testing.assert_array_equal(composed, [[0 + 2 + 4, 5], [6 + 8 + 10, 11]])


def test_a_letterboxed_frame_is_whole_and_a_cropped_one_fills_the_square():
    frame = np.full((40, 80, 3), 200, np.uint8)
    assert (Geometry(16, "crop").apply(frame) == 200).all()
    boxed = Geometry(16, "letterbox").apply(frame)
    assert (boxed[4:12] == 200).all()
    assert not boxed[:4].any()
    assert not boxed[12:].any()


def test_a_rate_that_is_no_whole_part_names_those_that_are():
    assert keep_every(30, 10) == 3
    with pytest.raises(UserError, match="Possible are 30, 15, 10"):
        keep_every(30, 20)


# ---- bad input: one line, exit code 1, nothing left


def refuse(framecast: Command, source: Path, out: Path, *options: object) -> str:
    before = sorted(out.parent.iterdir())
    line = framecast("import", source, "--out", out, *options).one_line()
    assert sorted(out.parent.iterdir()) == before
    return line


def test_nothing_and_an_empty_folder_are_told_apart(tmp_path: Path, framecast: Command):
    (tmp_path / "empty").mkdir()
    assert "empty folder" in refuse(framecast, tmp_path / "empty", tmp_path / "out")
    assert "nothing at" in refuse(framecast, tmp_path / "typo", tmp_path / "out")
    (tmp_path / "empty" / "notes.txt").write_text("hello")
    assert "none of the formats" in refuse(framecast, tmp_path / "empty", tmp_path / "out")


def test_a_video_that_does_not_decode(two_g1_episodes: Path, tmp_path: Path, framecast: Command):
    """Nothing at all, no video, one that ends early, and one that is cut in its header."""
    episodes = two_g1_episodes / "meta" / "episodes.jsonl"
    episodes.write_text(episodes.read_text().splitlines()[1])
    video = next((two_g1_episodes / "videos").rglob("*1.mp4"))
    whole = video.read_bytes()
    for content in (b"", b"no video at all", whole[:20_000], whole[: len(whole) // 2]):
        video.write_bytes(content)
        line = refuse(framecast, two_g1_episodes, tmp_path / "out", "--fps", 10)
        assert "episode_000001.mp4" in line


def test_a_folder_video_stands_in_for_videos(two_g1_episodes: Path):
    (two_g1_episodes / "videos").rename(two_g1_episodes / "video")
    meta = LeRobotMeta(two_g1_episodes, Keys(), FIELDS)
    path = meta.path("video_path", episode_chunk=0, episode_index=1)
    assert path.parts[-4] == "video"


def test_a_broken_file_among_many_costs_only_itself(tmp_path: Path, framecast: Command):
    source = tmp_path / "Aufnahmen für später"
    source.mkdir()
    for index in range(300):
        image = np.full((3, 16, 16, 3), index % 256, np.uint8)
        image[1] += 1
        np.savez(source / f"traj {index}.npz", image=image, action=np.ones((3, 1), np.float32))
    (source / "traj 77.npz").write_bytes(b"PK")
    (source / "traj 150.npz").unlink()
    (source / "traj 150.npz").symlink_to("gone.npz")
    options = ("--size", 16, "--split", "1,0,0", "--out", tmp_path / "out")
    assert "traj 77.npz" in framecast("import", source, *options).one_line()
    done = framecast("import", source, *options, "--skip-broken")
    assert done.code == 0, done.err
    store = EpisodeStore.open(tmp_path / "out", "train")
    assert store.num_episodes == 298
    firsts = store.pixels[store.ep_offset][:, 0, 0, 0].tolist()
    assert firsts == [index % 256 for index in range(300) if index not in (77, 150)]
    left_out = (tmp_path / "out" / "left_out.txt").read_text().splitlines()
    assert [Path(line.split(".npz")[0]).name for line in left_out] == ["traj 77", "traj 150"]


def test_a_table_shorter_than_its_video(two_g1_episodes: Path, tmp_path: Path, framecast: Command):
    file = two_g1_episodes / "data/chunk-000/episode_000000.parquet"
    pq.write_table(pq.read_table(file)[:250], file)
    episodes = two_g1_episodes / "meta" / "episodes.jsonl"
    episodes.write_text(episodes.read_text().replace('"length": 290', '"length": 250'))
    line = refuse(framecast, two_g1_episodes, tmp_path / "out", "--fps", 10)
    assert "has 290 frames" in line
    assert "250 rows" in line


def test_an_action_table_shorter_than_its_frames(bair: Path, tmp_path: Path, framecast: Command):
    course = pack_as_course(bair, tmp_path / "course")
    table = next(course.rglob("actions.csv"))
    table.write_text("\n".join(table.read_text().splitlines()[:20]))
    line = refuse(framecast, course, tmp_path / "out")
    assert "actions.csv: 30 frames need 30 or 29 actions, got 20" in line


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("7.png", "small", "7.png is 32x32, but the frames before it are 64x64"),
        ("7.png", "junk", "7.png is not a picture"),
        ("7.png", None, "no frame 7.png"),
        ("actions.csv", None, "actions.csv is missing, though other sequences have it"),
        ("actions.csv", "dx,dy,c,u\n" + "0,0,0,0\n" * 30, "actions.csv, line 1 is not 4 numbers"),
        ("actions.csv", "0,0,0,0\n0,0,0\n", "actions.csv, line 2: expected 4 columns, got 3"),
        ("actions.csv", "0,0,0,0\n" * 29 + "nan,0,0,0\n", "line 30 holds a value that is not fin"),
        ("actions.csv", "0,0,0,0\n" * 31, "30 frames need 30 or 29 actions, got 31"),
        ("endeffector_positions.csv", None, "endeffector_positions.csv is missing"),
        ("endeffector_positions.csv", "1e99,0,0\n" * 30, "line 1 holds a value that is not finite"),
        ("7.png", "link", "7.png is a link that leads out of"),
        ("7.png", "bomb", "could be decompression bomb"),
        ("7.png", "folder", "7.png is not a picture"),
    ],
)
def test_a_broken_course_folder(
    bair: Path, tmp_path: Path, framecast: Command, name: str, content: str | None, message: str
):
    course = pack_as_course(bair, tmp_path / "course", ("train", "test"))
    file = next((course / "train").rglob(name))
    if content is None:
        file.unlink()
    elif content == "small":
        Image.new("RGB", (32, 32)).save(file)
    elif content == "link":
        file.unlink()
        Image.new("RGB", (64, 64)).save(tmp_path / "secret.png")
        file.symlink_to(tmp_path / "secret.png")
    elif content == "bomb":
        file.write_bytes(png_header(10_000, 10_000))
    elif content == "folder":
        file.unlink()
        file.mkdir()
    else:
        file.write_text(content)
    assert message in refuse(framecast, course, tmp_path / "out")
    done = framecast(
        "import", course, "--out", tmp_path / "out", "--skip-broken", "--split", "1,0,0"
    )
    assert done.code == 0, done.err
    assert EpisodeStore.open(tmp_path / "out", "train").num_episodes == 1


def png_header(width: int, height: int) -> bytes:
    """A picture that says it is huge, and then ends."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return b"\x89PNG\r\n\x1a\n" + body + struct.pack(">I", 0) + b"IDAT" + bytes(4)


def test_course_folders_without_any_table_have_no_actions(
    bair: Path, tmp_path: Path, framecast: Command
):
    course = pack_as_course(bair, tmp_path / "course")
    for table in course.rglob("*.csv"):
        table.unlink()
    done = framecast("import", course, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert "no actions" in done.out
    store = EpisodeStore.open(tmp_path / "out", "train")
    assert store.spec.action.size == 0
    assert store.episode(0).actions.shape == (29, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"codebase_version": "v1.6"}, "version v1.6"),
        ({"codebase_version": "v3.0"}, "names no episode"),
        ({"fps": None}, "no usable 'fps'"),
        ({"video_path": "../../{episode_index}.mp4"}, "leads out of the dataset"),
        ({"video_path": "{episode_index.__class__}"}, "video_path"),
        ({"features": {"action": {"shape": [26]}}}, "no video feature"),
    ],
)
def test_a_lerobot_folder_that_cannot_be_followed(
    two_g1_episodes: Path, tmp_path: Path, framecast: Command, change: dict, message: str
):
    info = two_g1_episodes / "meta" / "info.json"
    info.write_text(json.dumps(json.loads(info.read_text()) | change))
    assert message in refuse(framecast, two_g1_episodes, tmp_path / "out")


def test_info_that_is_not_json(tmp_path: Path, framecast: Command):
    (tmp_path / "bot" / "meta").mkdir(parents=True)
    (tmp_path / "bot" / "meta" / "info.json").write_text("{")
    assert "info.json is not JSON" in refuse(framecast, tmp_path / "bot", tmp_path / "out")


def test_npz_files_are_never_unpickled(tmp_path: Path, framecast: Command):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "pwned",))

    file = tmp_path / "traj_00000.npz"
    np.savez(file, image=np.zeros((5, 16, 16, 3), np.uint8), action=np.array([Evil()], object))
    assert "plain numbers" in refuse(framecast, file, tmp_path / "out", "--size", 16)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and then nothing"])
def test_a_file_that_is_no_npz(tmp_path: Path, framecast: Command, content: bytes):
    (tmp_path / "a.npz").write_bytes(content)
    assert "a.npz is not a whole npz" in refuse(framecast, tmp_path / "a.npz", tmp_path / "out")


def test_a_table_without_the_columns(two_g1_episodes: Path, tmp_path: Path, framecast: Command):
    file = two_g1_episodes / "data/chunk-000/episode_000000.parquet"
    pq.write_table(pa.table({"other": [1.0]}), file)
    line = refuse(framecast, two_g1_episodes, tmp_path / "out")
    assert "episode_000000.parquet is not a table with action" in line


def test_a_null_among_the_actions(two_g1_episodes: Path, tmp_path: Path, framecast: Command):
    file = two_g1_episodes / "data/chunk-000/episode_000000.parquet"
    table = pq.read_table(file)
    rows = table.column("action").to_pylist()
    rows[7][3] = None
    changed = pa.array(rows, pa.list_(pa.float32()))
    index = table.column_names.index("action")
    pq.write_table(table.set_column(index, "action", changed), file)
    line = refuse(framecast, two_g1_episodes, tmp_path / "out")
    assert "episode_000000.parquet: 'action' is null in row 7" in line


def test_a_full_disk_is_one_line_and_leaves_nothing(
    bair: Path, tmp_path: Path, framecast: Command, monkeypatch: pytest.MonkeyPatch
):
    class FullDisk(io.BytesIO):
        def write(self, _: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device", "train.raw")

    monkeypatch.setattr(shards.ShardSpool, "_open", lambda _, __: FullDisk())
    assert "disk is full" in refuse(framecast, bair, tmp_path / "out")


def test_an_existing_dataset_is_not_overwritten_unasked(
    bair: Path, tmp_path: Path, framecast: Command
):
    assert framecast("import", bair, "--out", tmp_path / "out").code == 0
    assert "exists already" in refuse(framecast, bair, tmp_path / "out")
    assert framecast("import", bair, "--out", tmp_path / "out", "--overwrite").code == 0
