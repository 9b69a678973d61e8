"""Caffe's messages: NetParameter, LayerParameter, Datum, BlobProto and the rest."""

from farlayer.protos.caffe_pb2 import *  # noqa: F403  # this module is that one, under the name that users import
