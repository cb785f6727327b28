"""BAIR TFRecords: the real clip in exact form, and every way to break one."""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.summary.writer.record_writer import RecordWriter

from framecast.data.episodes import EpisodeStore
from framecast.data.formats import open_recordings
from framecast.data.formats.example import MalformedError, encode_example, parse_example
from framecast.data.formats.tfrecord import index_records, masked_crc, write_record
from framecast.errors import UserError
from tests.conftest import Outcome

Command = Callable[..., Outcome]


@pytest.fixture(scope="session")
def real_clip(shared_data: Path) -> dict[str, np.ndarray]:
    """A real sequence of both cameras; its positions are made up, for it comes without."""
    arrays = dict(np.load(shared_data / "bair" / "bair_sample.npz"))
    positions = np.cumsum(np.full((30, 3), 0.01, np.float32), axis=0)
    return {
        "image_main": arrays["image"].astype(np.uint8),
        "image_aux1": arrays["aux1_image"].astype(np.uint8),
        "action": arrays["action"].astype(np.float32),
        "endeffector_pos": positions,
    }


def example_of(clip: dict[str, np.ndarray], **changes: bytes | np.ndarray | None) -> bytes:
    features: dict[str, bytes | np.ndarray] = {}
    for step in range(len(clip["action"])):
        for key, rows in clip.items():
            is_image = key.startswith("image")
            name = f"{step}/{key}/encoded" if is_image else f"{step}/{key}"
            features[name] = rows[step].tobytes() if is_image else rows[step]
    for name, value in changes.items():
        features.pop(name)
        if value is not None:
            features[name] = value
    return encode_example(features)


def noise_clip(seed: int, num_frames: int = 4) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        "image_aux1": random.integers(0, 256, (num_frames, 64, 64, 3)).astype(np.uint8),
        "action": random.normal(size=(num_frames, 4)).astype(np.float32),
        "endeffector_pos": random.normal(size=(num_frames, 3)).astype(np.float32),
    }


def write_records(path: Path, *examples: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for example in examples:
            write_record(file, example)
    return path


def test_the_real_clip_comes_back_from_its_exact_tfrecord(
    real_clip: dict[str, np.ndarray], tmp_path: Path, framecast: Command
):
    file = write_records(
        tmp_path / "softmotion30_44k" / "train" / "traj_512_to_767.tfrecords", example_of(real_clip)
    )
    for camera in ("image_aux1", "image_main"):
        out = tmp_path / camera
        assert framecast("import", file, "--out", out, "--camera", camera).code == 0
        episode = EpisodeStore.open(out, "train").episode(0)
        np.testing.assert_array_equal(episode.frames, real_clip[camera])
        np.testing.assert_array_equal(episode.actions, real_clip["action"][:-1])
        np.testing.assert_array_equal(episode.states, real_clip["endeffector_pos"])
    assert EpisodeStore.open(out, "train").spec.action.names[0] == "dx"


def test_the_framing_is_that_of_tensorboards_own_writer():
    theirs, ours = io.BytesIO(), io.BytesIO()
    writer = RecordWriter(theirs)
    for payload in (b"", b"hello", bytes(range(256)) * 100):
        writer.write(payload)
        write_record(ours, payload)
    assert ours.getvalue() == theirs.getvalue()


def test_examples_are_read_as_protobuf_itself_writes_them():
    """A descriptor of tf.train.Example, made here, through Google's protobuf."""
    message = protobuf_example()
    features = message.features.feature
    features["numbers"].float_list.value.extend([0.5, -1.25])
    features["whole"].int64_list.value.extend([3, -1, 2**40])
    features["bytes"].bytes_list.value.extend([b"ab", b""])
    features["nothing"].SetInParent()
    parsed = parse_example(message.SerializeToString())
    np.testing.assert_array_equal(parsed["numbers"], np.array([0.5, -1.25], np.float32))
    np.testing.assert_array_equal(parsed["whole"], [3, -1, 2**40])
    assert [bytes(value) for value in parsed["bytes"]] == [b"ab", b""]
    assert len(parsed["nothing"]) == 0
    again = protobuf_example()
    again.ParseFromString(encode_example({"a": b"xyz", "b": np.array([1, 2], np.float32)}))
    assert again.features.feature["a"].bytes_list.value == [b"xyz"]
    assert again.features.feature["b"].float_list.value == [1, 2]


def protobuf_example():
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="t", syntax="proto3")

    def message(name: str, *fields: tuple[str, int, int, str], repeated: bool = False):
        kind = file.message_type.add(name=name)
        for field, number, type_, type_name in fields:
            label = 3 if repeated else 1
            added = kind.field.add(name=field, number=number, type=type_, label=label)
            if type_name:
                added.type_name = type_name
        return kind

    message("BytesList", ("value", 1, 12, ""), repeated=True)
    message("FloatList", ("value", 1, 2, ""), repeated=True)
    message("Int64List", ("value", 1, 3, ""), repeated=True)
    message(
        "Feature",
        ("bytes_list", 1, 11, ".t.BytesList"),
        ("float_list", 2, 11, ".t.FloatList"),
        ("int64_list", 3, 11, ".t.Int64List"),
    )
    features = message("Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.field.add(name="key", number=1, type=9, label=1)
    entry.field.add(name="value", number=2, type=11, type_name=".t.Feature", label=1)
    entry.options.map_entry = True
    features.field.add(
        name="feature", number=1, type=11, type_name=".t.Features.FeatureEntry", label=3
    )
    message("Example", ("features", 1, 11, ".t.Features"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Example"))()


def test_splits_are_those_of_the_papers(tmp_path: Path, framecast: Command):
    root = tmp_path / "softmotion30_44k"
    for number, name in enumerate(
        (
            "train/traj_10_to_255",
            "train/traj_256_to_511",
            "train/traj_512_to_767",
            "test/traj_0_to_255",
        )
    ):
        examples = [example_of(noise_clip(10 * number + index)) for index in range(2)]
        write_records(root / f"{name}.tfrecords", *examples)
    assert framecast("import", root, "--out", tmp_path / "out").code == 0
    for split, seeds in (("train", (0, 1, 20, 21)), ("validation", (10, 11)), ("test", (30, 31))):
        store = EpisodeStore.open(tmp_path / "out", split)
        assert store.num_episodes == len(seeds)
        for index, seed in enumerate(seeds):
            expected = noise_clip(seed)["image_aux1"]
            np.testing.assert_array_equal(store.episode(index).frames, expected)


# ---- broken files: file, record and byte are named


def broken_file(what: str, path: Path) -> Path:
    """Three records of which the second is broken."""
    clips = [noise_clip(seed) for seed in range(3)]
    changes: dict[str, bytes | np.ndarray | None] = {
        "an image too short": {"2/image_aux1/encoded": bytes(12_000)},
        "no image": {"2/image_aux1/encoded": None},
        "no action": {"1/action": None},
        "three action numbers": {"1/action": np.zeros(3, np.float32)},
        "not a number": {"1/action": np.array([0, np.nan, 0, 0], np.float32)},
        "bytes for an action": {"1/action": b"1234"},
    }.get(what, {})
    examples = [example_of(clips[0]), example_of(clips[1], **changes), example_of(clips[2])]
    if what == "an action too many":
        images, actions = clips[1]["image_aux1"], clips[1]["action"]
        features = {f"{i}/image_aux1/encoded": images[i].tobytes() for i in range(3)}
        features |= {f"{i}/action": actions[i] for i in range(4)}
        examples[1] = encode_example(features)
    if what == "a name twice":
        inner = encode_example({"0/action": np.zeros(4, np.float32)})
        examples[1] += inner + inner
    if what == "no protobuf":
        examples[1] = b"\x0a\xff\xff\xff\xff\x7f"
    write_records(path, *examples)
    data = bytearray(path.read_bytes())
    second = index_records(path)[0][1].offset
    if what == "a bit flipped":
        data[second + 5000] ^= 4
    elif what == "a length of 2^63":
        length = struct.pack("<Q", 2**63)
        data[second : second + 12] = length + struct.pack("<I", masked_crc(length))
    elif what == "a wrong length":
        data[second] ^= 1
    elif what == "cut off":
        del data[second + 900 :]
    elif what == "cut off in a header":
        del data[second + 7 :]
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("what", "message", "num_left"),
    [
        ("an image too short", "'2/image_aux1/encoded' has 12000 bytes", 2),
        ("no image", "has no image '2/image_aux1/encoded'", 2),
        ("no action", "expected 4 numbers in '1/action', got nothing", 2),
        ("three action numbers", "expected 4 numbers in '1/action', got 3 values", 2),
        ("bytes for an action", "expected 4 numbers in '1/action', got 1 values", 2),
        ("not a number", "not finite in row 1", 2),
        ("an action too many", "has 3 frames, but a '3/action' too", 2),
        ("a name twice", "the feature '0/action' is there twice", 2),
        ("no protobuf", "not a tf.train.Example", 2),
        ("a bit flipped", "checksum of its content is wrong", 2),
        ("a length of 2^63", "should have 9223372036854775808 bytes", 1),
        ("a wrong length", "checksum of its length is wrong", 1),
        ("cut off", "the file ends after", 1),
        ("cut off in a header", "is cut off", 1),
    ],
)
def test_a_broken_record_is_named_and_can_be_left_out(
    tmp_path: Path, framecast: Command, what: str, message: str, num_left: int
):
    file = broken_file(what, tmp_path / "in" / "traj_0_to_255.tfrecords")
    second = index_records(file)[0][0].length + 16
    line = framecast("import", file, "--out", tmp_path / "out").one_line()
    assert f"traj_0_to_255.tfrecords, record 1 at byte {second}" in line
    assert message in line
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    done = framecast("import", file, "--out", tmp_path / "out", "--skip-broken", "--split", "1,0,0")
    assert done.code == 0, done.err
    assert EpisodeStore.open(tmp_path / "out", "train").num_episodes == num_left
    assert message in (tmp_path / "out" / "left_out.txt").read_text()


# ---- fuzzing: any bytes give a parsed message or an error of ours, never anything else

SMALL = encode_example({"0/action": np.ones(4, np.float32), "0/image_aux1/encoded": b"12345"})


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    data = bytearray(SMALL)
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, len(data) - 1))
        kind = draw(st.sampled_from(("set", "cut", "insert")))
        if kind == "set":
            data[place] = draw(st.integers(0, 255))
        elif kind == "insert":
            data[place:place] = draw(st.binary(max_size=12))
        elif place:
            del data[place:]
    return bytes(data)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=200), mutated()))
def test_any_bytes_are_an_example_or_malformed(data: bytes):
    try:
        features = parse_example(data)
    except MalformedError:
        return
    sizes = (
        value.nbytes if isinstance(value, np.ndarray) else sum(map(len, value)) + len(value)
        for value in features.values()
    )
    assert sum(sizes) <= 8 * len(data)


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.binary(max_size=300), mutated()), st.integers(0, 400), st.integers(0, 255))
def test_any_file_of_records_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, payload: bytes, place: int, value: int
):
    file = tmp_path_factory.getbasetemp() / "fuzz.tfrecords"
    write_records(file, SMALL, payload)
    data = bytearray(file.read_bytes())
    data[min(place, len(data) - 1)] = value
    file.write_bytes(data)
    try:
        reader = open_recordings(file, "bair")
    except UserError:
        return
    for index in range(len(reader)):
        with contextlib.suppress(UserError):
            list(reader.read(index, 1).frames)
