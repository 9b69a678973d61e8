"""farlayer upgrade-net: writes a net in an older format anew, as Caffe's upgrade_net_proto_text and _binary do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from farlayer.cli.caffe_flags import CaffeCommand
from farlayer.cli.console import Screen
from farlayer.cli.options import need_file
from farlayer.protos.errors import InputError

if TYPE_CHECKING:
    from farlayer.protos.caffe_pb2 import NetParameter


@click.command("upgrade-net", cls=CaffeCommand, short_help="Write a net of 2013 or 2014 in the present format.")
@click.argument("source", metavar="SOURCE")
@click.argument("target", metavar="TARGET")
@click.pass_obj
def upgrade_net(screen: Screen, *, source: str, target: str) -> None:
    """Write a net in an older format anew, in the present one.

    A prototxt gives a prototxt, a binary (.caffemodel) a binary with its weights. Nets are upgraded when they are read
    anyway: this is for editing them, or for giving them to others.
    """
    from farlayer.engine.files import write_atomically
    from farlayer.engine.prototxt import to_text

    need_file(source, "SOURCE")
    try:
        content = Path(source).read_bytes()
    except OSError as error:
        raise InputError(f"SOURCE: cannot read '{source}': {error.strerror}", remedy="check the file") from error
    is_text = b"\0" not in content
    net, done = _read_text(content, source) if is_text else _read_binary(content, source)
    write_atomically(Path(target), to_text(net).encode() if is_text else net.SerializeToString())
    screen.fact("Upgraded", ", ".join(done) or "nothing: the net is in the present format")
    screen.fact("Written", f"{target} ({len(net.layer)} layers)")


def _read_text(content: bytes, source: str) -> tuple[NetParameter, list[str]]:
    from farlayer.engine.prototxt import parse
    from farlayer.engine.upgrade import upgrade_net as upgrade
    from farlayer.protos.caffe_pb2 import NetParameter

    net = parse(content.decode("utf-8", "replace"), NetParameter(), source)
    return net, upgrade(net, source)


def _read_binary(content: bytes, source: str) -> tuple[NetParameter, list[str]]:
    from google.protobuf.message import DecodeError

    from farlayer.engine.upgrade import upgrade_net as upgrade
    from farlayer.protos.caffe_pb2 import NetParameter

    try:
        net = NetParameter.FromString(content)
    except DecodeError as error:
        raise InputError(
            f"'{source}' is neither a prototxt nor a .caffemodel ({len(content)} bytes)",
            remedy="check the path, or copy the file again",
        ) from error
    return net, upgrade(net, source)
