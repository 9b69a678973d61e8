"""Python: a layer whose code is the user's, run in a worker process or wherever the host says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from farlayer.blobs.blob import Blob
from farlayer.client.session import LayerSpec
from farlayer.engine.blob_proto import fill_from_proto, fits_shape, shape_of_proto
from farlayer.engine.layer import Blobs, Flags, Layer
from farlayer.engine.registry import register
from farlayer.protos import caffe_pb2

if TYPE_CHECKING:
    from farlayer.client.session import LayerSession


@register("Python")
class PythonLayer(Layer):
    """Delegates setup, reshape, forward and backward to the session of its user's layer.

    Blobs: any number, which the user's code checks; in place where the net says so. It is a loss only by an explicit
    loss_weight, as in Caffe.
    params: the blobs that the user's setup (or reshape) added; the engine holds their memory too.
    Source: Caffe, include/caffe/layers/python_layer.hpp.
    """

    allows_in_place = True
    _session: LayerSession | None = None

    @property
    def session(self) -> LayerSession:
        """The session with the user's layer; there from setup on, also after close (for its report and params).

        Raises:
            NetError: the layer is not set up.
        """
        if self._session is None:
            raise self.error("it is not set up", remedy="build the net first")
        return self._session

    @property
    def params(self) -> list[Blob]:
        return list(self._session.params) if self._session is not None else []

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.python_param
        for field, value in (("module", param.module), ("layer", param.layer)):
            if not value:
                raise self.error(f"python_param.{field} is empty", remedy=f"name the {field} of the user's class")
        spec = LayerSpec(
            name=self.name,
            module=param.module,
            layer=param.layer,
            param_str=param.param_str,
            phase=caffe_pb2.Phase.Name(self.param.phase),
        )
        self._session = self.context.host.session(spec)
        self._session.setup(bottom, top)

    def reshape(self, bottom: Blobs, top: Blobs) -> None:
        self.session.reshape()

    def run_setup(self, bottom: Blobs, top: Blobs) -> None:
        super().run_setup(bottom, top)
        self._take_given_params()

    def run_forward(self, bottom: Blobs, top: Blobs) -> float:
        # Reshape and forward are one round trip.
        self.session.forward()
        return self.loss(top)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        self.session.forward()

    def run_backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        self.session.backward(propagate_down)

    def backward(self, top: Blobs, propagate_down: Flags, bottom: Blobs) -> None:
        self.session.backward(propagate_down)

    def close(self) -> None:
        if self._session is not None:
            self._session.close()

    def _take_given_params(self) -> None:
        """Copies blobs that came with the net definition into the params that the user's layer added."""
        given = self.param.blobs
        if not given:
            return
        params = self.params
        fits = len(given) == len(params) and all(
            fits_shape(proto, blob.shape) for proto, blob in zip(given, params, strict=True)
        )
        if not fits:
            raise self.error(
                f"the net definition gives it params of shapes {[shape_of_proto(proto) for proto in given]}, "
                f"its setup added {[blob.shape for blob in params]}",
                remedy="remove `blobs` from the layer, or give blobs of these shapes",
            )
        for proto, blob in zip(given, params, strict=True):
            fill_from_proto(blob, proto)
