#!/usr/bin/env python3
"""Encoders of bitsandbytes (its CPU backend) over numbers that a formula gives: tests/golden/quantize.txt, one case a line,
    nf4|fp4 TYPE BLOCK COUNT crc32(codes) crc32(absmax)
    int8 TYPE ROWS COLS crc32(codes) crc32(scales)

    make_quantize.py          with bitsandbytes 0.50.2 and torch
"""
import os
import zlib

import numpy
import torch
from bitsandbytes import functional

TYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def values(n):
    """Element i of n: a hash of i in [-1, 1), smaller by powers of two in stretches of 50, zeros in every fifth stretch of 97."""
    i = numpy.arange(n, dtype=numpy.uint64)
    u = (i + 1) * 2654435761 & 0xFFFFFFFF
    u ^= u >> 15
    u = u * 0x2C1B3C6D & 0xFFFFFFFF
    u ^= u >> 12
    x = ((u >> 8).astype(numpy.float32) - 2.0**23) * numpy.float32(2.0**-23)
    x *= numpy.exp2(-(i // 50 % 7).astype(numpy.float32))
    x[i // 97 % 5 == 3] = 0
    return torch.from_numpy(x)


def crc(tensor):
    return "%08x" % zlib.crc32(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())


def main():
    out = open(os.path.join(os.path.dirname(__file__), "quantize.txt"), "w")
    for name, dtype in TYPES.items():
        for kind in "nf4", "fp4":
            for block, n in (64, 64), (64, 1), (64, 1001), (64, 2920), (32, 45), (128, 5000), (256, 100003), (4096, 20000):
                codes, state = functional.quantize_4bit(values(n).to(dtype), blocksize=block, quant_type=kind)
                print(kind, name, block, n, crc(codes), crc(state.absmax), file=out)
        for rows, cols in (1, 1), (3, 97), (17, 64), (40, 401):
            codes, scales, _ = functional.int8_vectorwise_quant(values(rows * cols).reshape(rows, cols).to(dtype).half())
            print("int8", name, rows, cols, crc(codes), crc(scales), file=out)


main()
