"""Looks for the best parameters of a small model: ridge regression on polynomials, with cross-validation.

python3 examples/python/grid_search.py --size 60 --workers 2
"""

import argparse
import itertools
import os
import time
from multiprocessing import Pool

DEGREES = range(1, 9)
PENALTIES = (0.0001, 0.001, 0.01, 0.1, 1.0, 10.0)
FOLDS = 5


def make_data(size):
    """Noisy points of a cubic curve."""
    state, points = 7, []
    for at in range(size):
        state = (state * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
        noise = (state >> 33) / (1 << 30) - 1.0
        x = 2.0 * at / size - 1.0
        points.append((x, 1.5 * x * x * x - x + 0.3 * noise))
    return points


def powers(x, degree):
    row, power = [], 1.0
    for _ in range(degree + 1):
        row.append(power)
        power *= x
    return row


def fit(points, degree, penalty):
    """The coefficients, by Gauss's elimination in the normal equations."""
    n = degree + 1
    rows = [[0.0] * (n + 1) for _ in range(n)]
    for x, y in points:
        values = powers(x, degree)
        for i in range(n):
            for j in range(n):
                rows[i][j] += values[i] * values[j]
            rows[i][n] += values[i] * y
    for i in range(n):
        rows[i][i] += penalty
    for i in range(n):
        for j in range(i + 1, n):
            factor = rows[j][i] / rows[i][i]
            for k in range(i, n + 1):
                rows[j][k] -= factor * rows[i][k]
    out = [0.0] * n
    for i in reversed(range(n)):
        total = rows[i][n]
        for j in range(i + 1, n):
            total -= rows[i][j] * out[j]
        out[i] = total / rows[i][i]
    return out


def loss(points, degree, penalty):
    """The mean square error over all folds; each is predicted from the others."""
    total = 0.0
    for fold in range(FOLDS):
        known = [point for at, point in enumerate(points) if at % FOLDS != fold]
        coefficients = fit(known, degree, penalty)
        for at, (x, y) in enumerate(points):
            if at % FOLDS == fold:
                predicted = 0.0
                for coefficient, value in zip(coefficients, powers(x, degree)):
                    predicted += coefficient * value
                total += (predicted - y) * (predicted - y)
    return total / len(points)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=2_000)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    points = make_data(max(options.size, 2 * FOLDS))
    grid = list(itertools.product(DEGREES, PENALTIES))
    start = time.perf_counter()
    expected = [loss(points, degree, penalty) for degree, penalty in grid]
    print(f"without workers {time.perf_counter() - start:.3f}s")
    for workers in (1, options.workers):
        with Pool(workers, maxtasksperchild=20) as pool:
            start = time.perf_counter()
            losses = pool.starmap(loss, [(points, degree, penalty) for degree, penalty in grid])
            took = time.perf_counter() - start
        print(f"{workers} worker{'' if workers == 1 else 's'} {took:.3f}s")
        assert losses == expected
    best = min(range(len(grid)), key=lambda at: expected[at])
    degree, penalty = grid[best]
    print(f"best of {len(grid)}: degree {degree}, penalty {penalty}, mean square error {expected[best]:.6f}")


if __name__ == "__main__":
    main()
