import numpy as np
import pytest

from farlayer.blobs.blob import Blob
from farlayer.engine.gradient_check import GradientChecker
from farlayer.protos.errors import NetError
from tests.engine.kernels.support import MakeLayer
from tests.engine.support import assert_nothing_is_allocated, random_blob, run

CASES = {
    "same size": ("num_output: 3 kernel_size: 3 pad: 1", (2, 3, 5, 4)),
    "stride": ("num_output: 3 kernel_size: 3 pad: 1 stride: 2", (2, 3, 6, 5)),
    "two filters a channel": ("num_output: 6 kernel_size: 2", (2, 3, 4, 4)),
    "large images": ("num_output: 2 kernel_size: 3 pad: 1", (1, 2, 17, 16)),
    "group given": ("num_output: 3 kernel_size: 3 group: 3 bias_term: false", (2, 3, 4, 4)),
}


def text(options: str, kind: str = "DepthwiseConvolution") -> str:
    fillers = 'weight_filler { type: "gaussian" } bias_filler { type: "gaussian" }'
    return f'type: "{kind}" convolution_param {{ {fillers} {options} }}'


@pytest.mark.parametrize("case", CASES)
def test_every_channel_is_convolved_by_itself(make_layer: MakeLayer, case: str) -> None:
    options, shape = CASES[case]
    bottom = random_blob(*shape)
    layer = make_layer(text(options))
    (top,) = run(layer, [bottom])
    filters = top.shape[1] // shape[1]
    for channel in range(shape[1]):
        single_options = options.replace("group: 3", "").replace(
            f"num_output: {top.shape[1]}", f"num_output: {filters}"
        )
        single = make_layer(text(single_options, "Convolution"))
        part = random_blob(shape[0], 1, *shape[2:])
        part.data[...] = bottom.data[:, channel : channel + 1]
        (result,) = run(single, [part])
        its = slice(channel * filters, (channel + 1) * filters)
        for own, blob in zip(single.params, layer.params, strict=True):
            own.data[...] = blob.data[its]
        single.run_forward([part], [result])
        np.testing.assert_allclose(top.data[:, its], result.data, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_the_gradient_is_right(make_layer: MakeLayer, case: str) -> None:
    options, shape = CASES[case]
    bottom, top = random_blob(*shape), Blob()
    layer = make_layer(text(options))
    layer.run_setup([bottom], [top])
    diff = random_blob(*top.shape, seed=5).data
    assert GradientChecker(threshold=2e-3).check(layer, [bottom], [top], top_diffs=[diff])


@pytest.mark.parametrize("stride", [1, 2])
def test_a_steady_state_allocates_nothing(make_layer: MakeLayer, stride: int) -> None:
    layer = make_layer(text(f"num_output: 8 kernel_size: 3 pad: 1 stride: {stride}"))
    assert_nothing_is_allocated(layer, [random_blob(8, 8, 80, 80)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("num_output: 4 kernel_size: 3 group: 2", "group is 2, but there are 4 channels"),
        ("num_output: 6 kernel_size: 3", "group is 4, but there are 4 channels and 6 outputs"),
    ],
)
def test_filters_over_several_channels_are_refused(make_layer: MakeLayer, options: str, message: str) -> None:
    with pytest.raises(NetError, match=message):
        run(make_layer(text(options)), [random_blob(1, 4, 5, 5)])
