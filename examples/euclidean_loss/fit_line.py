"""Fits a line by gradient descent; the loss runs in a worker process. No net, no prototxt: NumPy arrays in and out.

Run it from anywhere: python examples/euclidean_loss/fit_line.py
"""

import numpy as np

from farlayer.client import local_pool

STEPS = 60
RATE = 0.5


def main() -> None:
    random = np.random.default_rng(1)
    x = random.uniform(-1, 1, (200, 1))
    target = 3 * x - 1 + random.normal(0, 0.05, x.shape)
    slope, offset = 0.0, 0.0
    with local_pool(workers=1) as pool:
        loss = pool.layer("pyloss", "EuclideanLossLayer")
        for step in range(STEPS):
            (value,) = loss.forward(slope * x + offset, target)
            (d_line, _) = loss.backward(1.0, propagate_down=[True, False])
            slope -= RATE * float((d_line * x).sum())
            offset -= RATE * float(d_line.sum())
            if step % 10 == 0 or step == STEPS - 1:
                print(f"step {step:2}: loss {float(value[0]):.5f}, y = {slope:.3f} x + {offset:.3f}")
        report = loss.report()
        print(
            f"{report.type} ran in {report.worker}, pid {report.pid}, by {report.carrier}, {report.transport} memory:"
        )
        print(f"{report.calls} calls, {1e6 * report.call_seconds / report.calls:.0f} us each")


if __name__ == "__main__":
    main()
