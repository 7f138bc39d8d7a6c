"""The normals of a block in plain Python integers, written from the papers."""

from __future__ import annotations

import math

MASK = 2**64 - 1


def sfc64(a, b, c):
    """Yield the words of SFC64 from three words of state, counter 1."""
    count = 1
    while True:
        word = (a + b + count) & MASK
        count += 1
        a = b ^ (b >> 11)
        b = (c + (c << 3)) & MASK
        c = (((c << 24) | (c >> 40)) + word) & MASK
        yield word


def layers(r=3.6541528853610088, area=0.00492867323399, number=256):
    """Return the right edges of the ziggurat, the lowest stretched to its area, the last 0."""
    edges = [area / math.exp(-0.5 * r * r), r]
    while len(edges) < number:
        x = edges[-1]
        edges.append(math.sqrt(-2.0 * math.log(area / x + math.exp(-0.5 * x * x))))
    return [*edges, 0.0]


def normals(rng, n, d=1, block=1024):
    """Return n d standard normals, with a key of three doubles for each block of rows."""
    edges = layers()
    draws = []
    for first in range(0, n, block):
        words = sfc64(*(int(rng.random() * 2.0**53) for _ in range(3)))
        for _ in range(12):
            next(words)

        def uniform(words=words):
            return ((next(words) >> 11) + 0.5) / 2.0**53

        wanted = len(draws) + (min(first + block, n) - first) * d
        while len(draws) < wanted:
            word = next(words)
            layer = word % 256
            signed = (word if word < 2**63 else word - 2**64) >> 11
            x = signed * (edges[layer] * 2.0**-52)
            if abs(signed) < math.floor(edges[layer + 1] / edges[layer] * 2.0**52):
                draws.append(x)
            elif layer > 0:
                low, high = (math.exp(-0.5 * edges[k] ** 2) for k in (layer, layer + 1))
                if low + uniform() * (high - low) < math.exp(-0.5 * x * x):
                    draws.append(x)
            else:
                while True:
                    beyond = -math.log(uniform()) / edges[1]
                    if -2.0 * math.log(uniform()) > beyond * beyond:
                        break
                draws.append(math.copysign(edges[1] + beyond, x))
    return draws
