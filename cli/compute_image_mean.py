"""farlayer compute-image-mean: the mean image of a database, as Caffe's compute_image_mean computes it."""

from __future__ import annotations

from pathlib import Path

import click

from farlayer.cli.caffe_flags import CaffeCommand
from farlayer.cli.console import Screen
from farlayer.cli.options import BACKEND
from farlayer.engine.data.databases import Backend
from farlayer.protos.errors import InputError


@click.command(cls=CaffeCommand, short_help="Compute the mean image of a database.")
@click.argument("input_db")
@click.argument("output_file", required=False, default="")
@BACKEND
@click.pass_obj
def compute_image_mean(screen: Screen, *, input_db: str, output_file: str, backend: Backend) -> None:
    """Compute the mean of the images in INPUT_DB.

    It is written to OUTPUT_FILE, where one is given, for transform_param.mean_file; the mean of each channel, for
    mean_value, is told. Flags are those of Caffe's compute_image_mean, with one dash or two.
    """
    screen.configure_logging("WARNING")
    if output_file and not Path(output_file).absolute().parent.is_dir():
        raise InputError(f"the folder of '{output_file}' does not exist", remedy="make it, or correct the path")
    run_mean(input_db, output_file, backend, screen)


def run_mean(input_db: str, output_file: str, backend: Backend, screen: Screen) -> None:
    """Computes and writes the mean image, then tells the means of its channels.

    Raises:
        FarlayerError: with a note that says how far it came.
        Interrupted: with the same as its story.
    """
    import numpy as np

    from farlayer.cli.counting import counted
    from farlayer.engine.data.image_set import MeanImage, named_records
    from farlayer.engine.data.mean_image import write_mean_image

    mean = MeanImage()
    with named_records(input_db, backend) as records, counted(records, "Adding", "images", screen) as images:
        for name, value in images:
            mean.add(value, name)
    image = mean.image()
    if output_file:
        write_mean_image(output_file, image)
    screen.fact("Images", f"{mean.count} of shape {image.shape}")
    for channel, planes in enumerate(image):
        screen.fact(f"Channel {channel}", f"mean_value: {np.mean(planes, dtype=np.float64):.6g}")
    if output_file:
        screen.fact("Mean image", output_file)
