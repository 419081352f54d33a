"""The kernel that turns queries and keys by their places."""

from __future__ import annotations

from strideformer.kernels.vectors import I64, POINTER, VectorBuilder


class RotaryCode(VectorBuilder):
    """Rotary position embeddings, in place.

    The function's arguments: (rows, 3, heads, head_size) queries, keys and values; (rows,) int64 places;
    (places, head_size / 2) float32 cosines and sines; the first row and the end of those to turn.

    Args:
        heads, head_size: of the model; half of the head size is a multiple of the lanes.
        lanes, bf16: as of `VectorBuilder`.
    """

    def __init__(self, heads: int, head_size: int, lanes: int, bf16: bool) -> None:
        super().__init__("turn", [POINTER, POINTER, POINTER, POINTER, I64, I64], lanes, bf16)
        qkv, places, cosines, sines, first, end = self.arguments
        half, number_bytes = head_size // 2, self.number_bytes
        with self.loop(first, end, 1) as row:
            place = self.load(self.at(places, (row.index, 8)), typ=I64, align=8)
            angles = [self.at(table, (place, 4 * half)) for table in (cosines, sines)]
            here = self.at(qkv, (row.index, 3 * heads * head_size * number_bytes))
            with self.loop(0, 2 * heads, 1) as head:
                of_head = self.at(here, (head.index, head_size * number_bytes))
                for start in range(0, half, lanes):
                    cosine, sine = (self.read_floats(self.at(angle, 4 * start)) for angle in angles)
                    near, far = (self.at(of_head, (start + side) * number_bytes) for side in (0, half))
                    left, right = self.read(near), self.read(far)
                    self.write(self.multiply_add(left, cosine, self.fneg(self.fmul(right, sine))), near)
                    self.write(self.multiply_add(right, cosine, self.fmul(left, sine)), far)
        self.ret_void()
