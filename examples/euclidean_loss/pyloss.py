"""The loss layer that ships with Caffe's examples, as its users know it."""

import caffe
import numpy as np


class EuclideanLossLayer(caffe.Layer):
    """Half the mean squared distance of two blobs, row by row.

    bottom[0], bottom[1]: of one shape, (N, ...). top[0]: the loss, one number.
    """

    def setup(self, bottom, top):
        if len(bottom) != 2:
            raise ValueError(f"EuclideanLossLayer needs 2 bottoms, not {len(bottom)}")

    def reshape(self, bottom, top):
        if bottom[0].count != bottom[1].count:
            raise ValueError(f"the bottoms have {bottom[0].count} and {bottom[1].count} values")
        self.diff = np.zeros_like(bottom[0].data)
        top[0].reshape(1)

    def forward(self, bottom, top):
        self.diff[...] = bottom[0].data - bottom[1].data
        top[0].data[...] = np.sum(self.diff**2) / bottom[0].num / 2

    def backward(self, top, propagate_down, bottom):
        for index, sign in ((0, 1), (1, -1)):
            if propagate_down[index]:
                bottom[index].diff[...] = sign * top[0].diff[0] * self.diff / bottom[index].num
