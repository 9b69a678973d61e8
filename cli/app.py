"""The command `farlayer`: its sub-commands, and the one place where what goes wrong is told."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

import click

from farlayer.cli.compute_image_mean import compute_image_mean
from farlayer.cli.console import Screen
from farlayer.cli.convert_imageset import convert_imageset
from farlayer.cli.doctor import doctor
from farlayer.cli.failures import tell_bug, tell_failure, tell_interruption
from farlayer.cli.layers import layers
from farlayer.cli.serve import serve
from farlayer.cli.signals import interrupts
from farlayer.cli.test import test
from farlayer.cli.train import train
from farlayer.cli.upgrade_net import upgrade_net
from farlayer.protos.errors import FarlayerError, InputError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version("farlayer"), "--version", prog_name="farlayer")
def farlayer() -> None:
    """Train and test Caffe nets whose Python layers run in worker processes."""


for _command in (train, test, serve, doctor, layers, upgrade_net, convert_imageset, compute_image_mean):
    farlayer.add_command(_command)


def run(arguments: Sequence[str]) -> int:
    """Runs one command.

    Returns:
        The exit code: 0; 1 where something failed or was interrupted; 2 where nothing ran, since the input is wrong.
    """
    screen = Screen.make()
    try:
        _need_working_directory()
        # Not farlayer.main: that one makes something of its own out of KeyboardInterrupt.
        with farlayer.make_context("farlayer", list(arguments), obj=screen) as context:
            farlayer.invoke(context)
    except click.exceptions.Exit as request:
        return request.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except FarlayerError as error:
        if interrupts.came:
            return tell_interruption(screen, "")
        return tell_failure(screen, error)
    except KeyboardInterrupt as request:
        return tell_interruption(screen, getattr(request, "story", ""))
    except BrokenPipeError:
        sys.stdout = None  # whoever read us is gone; the interpreter would complain once more when it flushes
        return 1
    except Exception as error:  # noqa: BLE001  # the boundary to the user: everything that gets here is a bug
        if interrupts.came:  # the exception of a signal, changed on its way through other people's code
            return tell_interruption(screen, "")
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:  # whoever else writes files says which one
            sys.stdout = None  # as above
            return tell_failure(screen, FarlayerError("the output cannot be written: no space is left on its device"))
        return tell_bug(screen, error)
    return 0


def _need_working_directory() -> None:
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise InputError("the working directory was deleted", remedy="cd into a folder that exists") from error
