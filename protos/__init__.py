"""The two schemas, their generated code, the error tree and the plain values that may cross between processes."""
