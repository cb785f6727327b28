"""Laws of sharing a batch among threads."""

from __future__ import annotations

import threading

import pytest
import torch

from framecast.models.threads import MOST_ENTRIES, even_blocks, even_parts, in_threads

CPU = torch.device("cpu")


@pytest.mark.parametrize("count", [1, 2, 3, 31, 64, 65, 600])
@pytest.mark.parametrize("most", [1, 7, 1000])
@pytest.mark.parametrize("device", [CPU, torch.device("cuda")])
def test_parts_cover_a_batch_once_in_order_within_the_budget(
    count: int, most: int, device: torch.device
):
    parts = even_parts(count, most, device)
    assert [entry for part in parts for entry in part] == list(range(count))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    at_once = torch.get_num_threads() if device == CPU else 1
    assert max(sizes) == 1 or max(sizes) * at_once <= most + at_once
    assert device != CPU or max(sizes) <= MOST_ENTRIES


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 100), (16, 1), (7, 5), (4, 100)])
@pytest.mark.parametrize("most", [1, 9, 64, 1000])
@pytest.mark.parametrize("device", [CPU, torch.device("cuda")])
def test_blocks_cover_a_table_once_within_the_budget(
    rows: int, columns: int, most: int, device: torch.device
):
    blocks = even_blocks(rows, columns, most, device)
    entries = sorted((row, column) for block in blocks for row in block[0] for column in block[1])
    assert entries == [(row, column) for row in range(rows) for column in range(columns)]
    threads = torch.get_num_threads() if device == CPU else 1
    sizes = [len(some) * len(part) for some, part in blocks]
    assert max(sizes) == 1 or max(sizes) * threads <= most
    if rows * columns <= most and device != CPU:
        assert blocks == [(range(rows), range(columns))], "a fitting table stays whole"


def test_results_keep_their_order_and_the_number_of_threads_stays():
    before = torch.get_num_threads()
    inside = in_threads(lambda part: (part, torch.get_num_threads()), range(8), CPU)
    assert [part for part, _ in inside] == list(range(8))
    assert before == 1 or {threads for _, threads in inside} == {1}
    assert torch.get_num_threads() == before
    later: list[int] = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [before]


def test_an_error_in_a_part_is_raised():
    with pytest.raises(ZeroDivisionError):
        in_threads(lambda part: 1 // part, [1, 0, 2], CPU)
