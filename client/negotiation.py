"""How blobs and messages will travel between this process and a server: found by trial, with the reason kept."""

from __future__ import annotations

import logging
import secrets
import time
from dataclasses import dataclass

import grpc
from google.protobuf.message import DecodeError

from farlayer.blobs.mailbox import Mailbox, close_all
from farlayer.blobs.segment import SharedSegment
from farlayer.client.grpc_carrier import from_rpc_error
from farlayer.client.options import ClientOptions
from farlayer.protos.errors import FarlayerError, TransportError, VersionError, WorkerUnavailableError
from farlayer.protos.layer_service_pb2 import BrokerReply, BrokerRequest, Canary, DescribeReply, DescribeRequest
from farlayer.protos.layer_service_pb2_grpc import LayerServiceStub
from farlayer.protos.protocol import NEWEST_VERSION, OLDEST_VERSION, software

logger = logging.getLogger(__name__)

_NONCE_BYTES = 64
_CANARY_S = 5.0
_RETRY_S = 0.2


@dataclass(frozen=True)
class Choice:
    """What was chosen for one server, and why.

    Attributes:
        carrier: "mailbox" or "grpc".
        transport: "shared" or "streamed".
        reason: one sentence for people.
        broker_path: the broker's socket as this process reaches it; "" where nothing is shared.
    """

    carrier: str
    transport: str
    reason: str
    broker_path: str = ""


def describe(stub: LayerServiceStub, address: str, *, timeout_s: float) -> DescribeReply:
    """Asks a server what it is; while it cannot be reached, again until `timeout_s` is over.

    Raises:
        WorkerUnavailableError: it does not answer.
        VersionError: it speaks no protocol version that we speak.
    """
    request = DescribeRequest(oldest_version=OLDEST_VERSION, newest_version=NEWEST_VERSION, client=software())
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return stub.Describe(request, timeout=max(deadline - time.monotonic(), 0.1))
        except grpc.RpcError as error:
            if isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.FAILED_PRECONDITION:
                raise VersionError(f"the server at {address} refuses: {error.details()}") from error
            found = from_rpc_error(error, address)
            if not isinstance(found, WorkerUnavailableError) or time.monotonic() > deadline - _RETRY_S:
                raise found from error
        time.sleep(_RETRY_S)  # it may just be starting


def choose(address: str, description: DescribeReply, options: ClientOptions) -> Choice:
    """Finds by trial whether memory can be shared with a server, and chooses carrier and transport.

    Raises:
        TransportError: what the options force cannot be had.
    """
    if options.transport == "streamed":
        return Choice("grpc", "streamed", "forced by --transport streamed")
    failures = []
    for path in _broker_paths(address, description):
        failure = try_canary(path)
        if not failure:
            carrier = "grpc" if options.carrier == "grpc" else "mailbox"
            forced = [f"--{name}" for name in ("carrier", "transport") if getattr(options, name) != "auto"]
            reason = f"canary passed: memory written here was read there, over {path}"
            return Choice(carrier, "shared", reason + (f"; {' and '.join(forced)} forced" if forced else ""), path)
        failures.append(f"{path}: {failure}")
    reason = f"no shared memory: {'; '.join(failures) or 'the server has no broker'}"
    if options.transport == "shared" or options.carrier == "mailbox":
        raise TransportError(
            f"shared memory with the server at {address} was forced, but cannot be had: {reason}",
            remedy="run both on one host with a common folder for the socket, or let --transport be auto",
        )
    logger.warning("server %s: blobs will be streamed (%s)", address, reason)
    return Choice("grpc", "streamed", reason)


def _broker_paths(address: str, description: DescribeReply) -> list[str]:
    """Where the broker may be reached: beside the server's socket as we see it, or where the server says it is."""
    paths = []
    if address.startswith("unix:"):
        paths.append(address[len("unix:") :] + ".broker")
    if description.broker_path and description.broker_path not in paths:
        paths.append(description.broker_path)
    return paths


def try_canary(broker_path: str) -> str:
    """Writes a pattern into a segment, and has the server read it and write another. Returns why that failed, or ""."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    try:
        mailbox = Mailbox.connect(broker_path)
    except OSError as error:
        return f"the broker cannot be reached ({error.strerror})"
    try:
        segment = SharedSegment.create(_NONCE_BYTES)
        view = segment.view
        view[:] = nonce
        mailbox.send(BrokerRequest(canary=Canary(nonce=nonce)).SerializeToString(), [segment.descriptor])
        message, descriptors = mailbox.receive(_CANARY_S)
        close_all(descriptors)
        refusal = BrokerReply.FromString(message).error
    except (FarlayerError, DecodeError) as error:
        return f"the canary failed ({error})"
    finally:
        mailbox.close()
    if refusal:
        return f"the server could not use the segment ({refusal})"
    if bytes(view) != bytes(255 - byte for byte in nonce):
        return "what the server wrote into the segment did not appear here"
    return ""
