"""A learned scale and shift for each channel."""

import caffe
import numpy as np


class ChannelAffineLayer(caffe.Layer):
    """y = scale[c] * x + shift[c].

    bottom[0]: x, (N, C, H, W). top[0]: y, of the same shape.
    params: scale, (C,), 1 at first; shift, (C,), 0 at first.
    """

    def setup(self, bottom, top):
        if len(bottom) != 1 or len(top) != 1:
            raise ValueError(f"ChannelAffineLayer needs 1 bottom and 1 top, not {len(bottom)} and {len(top)}")
        channels = bottom[0].channels
        self.blobs.add_blob(channels)
        self.blobs.add_blob(channels)
        self.blobs[0].data[...] = 1
        self.blobs[1].data[...] = 0

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].data.shape)

    def forward(self, bottom, top):
        scale, shift = (blob.data[:, np.newaxis, np.newaxis] for blob in self.blobs)
        top[0].data[...] = bottom[0].data * scale + shift

    def backward(self, top, propagate_down, bottom):
        dy = top[0].diff
        # Caffe clears the diffs of params before each iteration; layers add to them.
        self.blobs[0].diff[...] += (dy * bottom[0].data).sum(axis=(0, 2, 3))
        self.blobs[1].diff[...] += dy.sum(axis=(0, 2, 3))
        if propagate_down[0]:
            bottom[0].diff[...] = dy * self.blobs[0].data[:, np.newaxis, np.newaxis]
