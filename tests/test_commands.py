from __future__ import annotations

from collections.abc import Callable

import pytest

from framecast import __version__
from framecast.cli import COMMANDS
from tests.conftest import Outcome

Command = Callable[..., Outcome]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_examples(framecast: Command, command: str):
    done = framecast(command, "--help")
    assert done.code == 0
    assert f"  framecast {command} " in done.out


def test_help_names_every_command(framecast: Command):
    done = framecast("--help")
    assert done.code == 0
    assert all(f"  {command} " in done.out for command in COMMANDS)


def test_wrong_usage_is_two(framecast: Command):
    assert framecast().code == 2
    typo = framecast("trian")
    assert typo.code == 2
    assert "Did you mean 'train'?" in typo.err
    assert framecast("record", "--no-such-option").code == 2


def test_the_version_is_printed(framecast: Command):
    assert framecast("--version").out.strip() == f"framecast {__version__}"
