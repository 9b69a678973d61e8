"""The gRPC service over worker processes: starts, watches and buries them; never imports user code."""
