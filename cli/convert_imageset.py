"""farlayer convert-imageset: images to a database, as Caffe's convert_imageset does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from farlayer.cli.caffe_flags import CaffeCommand
from farlayer.cli.console import Screen
from farlayer.cli.options import BACKEND
from farlayer.engine.data.databases import Backend
from farlayer.protos.errors import InputError

if TYPE_CHECKING:
    from farlayer.engine.data.image_list import ImageList
    from farlayer.engine.data.image_set import ImageSetConverter


_TOLD_EACH = 20
"""How many images that are left out are told by name: a wrong ROOTFOLDER would tell all of them."""


@dataclass(frozen=True)
class ConvertOptions:
    """What `farlayer convert-imageset` is told.

    Attributes:
        root_folder: put before each path as it is.
        list_file: the list of images.
        database: the folder to make.
        gray, shuffle, check_size, encoded, encode_type: see the options' help.
        backend: kind of the database.
        resize_height, resize_width: 0 to leave the size.
    """

    root_folder: str
    list_file: str
    database: str
    gray: bool
    shuffle: bool
    backend: Backend
    resize_height: int
    resize_width: int
    check_size: bool
    encoded: bool
    encode_type: str

    def __post_init__(self) -> None:
        if bool(self.resize_height) != bool(self.resize_width):
            raise InputError(
                f"--resize-height is {self.resize_height} and --resize-width {self.resize_width}",
                remedy="give both, or none",
            )
        if Path(self.database).exists():
            raise InputError(f"'{self.database}' exists already", remedy="remove it, or choose another name")


@click.command(cls=CaffeCommand, short_help="Make a database from images.")
@click.argument("rootfolder")
@click.argument("listfile")
@click.argument("db_name")
@click.option("--gray", is_flag=True, help="Keep one channel, of brightness.")
@click.option("--shuffle", is_flag=True, help="Put the images in a random order.")
@BACKEND
@click.option("--resize-width", type=click.IntRange(min=0), default=0, help="Width to resize images to.")
@click.option("--resize-height", type=click.IntRange(min=0), default=0, help="Height to resize images to.")
@click.option("--check-size", is_flag=True, help="Stop at an image that has another size than the first one.")
@click.option("--encoded", is_flag=True, help="Keep images as files, which takes less room and more time to read.")
@click.option("--encode-type", metavar="TYPE", default="", help="Kind of those files: jpg, png, ...")
@click.pass_obj
def convert_imageset(
    screen: Screen,
    *,
    rootfolder: str,
    listfile: str,
    db_name: str,
    gray: bool,
    shuffle: bool,
    backend: Backend,
    resize_width: int,
    resize_height: int,
    check_size: bool,
    encoded: bool,
    encode_type: str,
) -> None:
    """Make the database DB_NAME from the images of LISTFILE.

    Each line of LISTFILE is a path, before which ROOTFOLDER is put as it is (so give it a / at its end), and a label.
    Flags are those of Caffe's convert_imageset, with one dash or two. Images that cannot be read are left out, with a
    warning. Differs from Caffe: a run that fails leaves no database.
    """
    screen.configure_logging("WARNING")
    options = ConvertOptions(
        root_folder=rootfolder,
        list_file=listfile,
        database=db_name,
        gray=gray,
        shuffle=shuffle,
        backend=backend,
        resize_height=resize_height,
        resize_width=resize_width,
        check_size=check_size,
        encoded=encoded,
        encode_type=encode_type,
    )
    run_conversion(options, screen)


def run_conversion(options: ConvertOptions, screen: Screen) -> None:
    """Makes the database, then tells what is in it.

    Raises:
        FarlayerError: with a note that says how far it came.
        Interrupted: with the same as its story.
    """
    from farlayer.engine.data.image_list import read_image_list
    from farlayer.engine.data.image_set import ImageSetConverter

    images = read_image_list(options.list_file)
    if options.shuffle:
        images = images.shuffled()
    converter = ImageSetConverter(
        root_folder=options.root_folder,
        gray=options.gray,
        size=(options.resize_height, options.resize_width) if options.resize_height else None,
        check_size=options.check_size,
        encoded=options.encoded,
        encode_type=options.encode_type,
    )
    written = _write(options, converter, images, screen)
    screen.fact("Converted", f"{written} images")
    if written < len(images.images):
        screen.fact("Left out", f"{len(images.images) - written} images")
    screen.fact("Database", f"{options.database} ({options.backend})")


def _write(options: ConvertOptions, converter: ImageSetConverter, images: ImageList, screen: Screen) -> int:
    """Writes the database. Returns how many images it holds."""
    from farlayer.cli.counting import counted
    from farlayer.engine.data.databases import new_database

    written = left_out = 0
    remedy = ""
    with (
        new_database(options.database, options.backend) as database,
        counted(converter.records(images), "Converting", "images", screen, len(images.images)) as records,
    ):
        for record in records:
            if isinstance(record, InputError):
                left_out += 1
                remedy = record.remedy if left_out == 1 or record.remedy == remedy else "see the warnings"
                if left_out <= _TOLD_EACH:
                    screen.warn(f"left out: {record.message}")
                if left_out == _TOLD_EACH:
                    screen.warn("more that are left out are only counted")
                continue
            database.put(*record)
            written += 1
        if not written:
            raise InputError("none of the images could be read", remedy=remedy)
    return written
