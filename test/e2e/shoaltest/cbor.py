"""CBOR (RFC 8949) as shoal uses it: definite lengths, no tags.

    dumps(value) -> bytes       int, float, bool, None, str, bytes, list, dict
    loads(data) -> value        ValueError on anything else, and on trailing bytes
    sequence(data) -> values    of a CBOR sequence (RFC 8742)
"""

import struct


def _head(major, n):
    if n < 24:
        return bytes([major << 5 | n])
    for info, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if n < 1 << 8 * size:
            return bytes([major << 5 | info]) + n.to_bytes(size, "big")
    raise ValueError("integer too large")


def dumps(value):
    if value is None:
        return b"\xf6"
    if isinstance(value, bool):
        return b"\xf5" if value else b"\xf4"
    if isinstance(value, int):
        return _head(0, value) if value >= 0 else _head(1, -1 - value)
    if isinstance(value, float):
        return b"\xfb" + struct.pack(">d", value)
    if isinstance(value, bytes):
        return _head(2, len(value)) + value
    if isinstance(value, str):
        data = value.encode()
        return _head(3, len(data)) + data
    if isinstance(value, (list, tuple)):
        return _head(4, len(value)) + b"".join(map(dumps, value))
    if isinstance(value, dict):
        return _head(5, len(value)) + b"".join(dumps(k) + dumps(v) for k, v in value.items())
    raise TypeError("no CBOR for %r" % type(value))


class _Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        if n > len(self.data) - self.at:
            raise ValueError("cut short")
        self.at += n
        return self.data[self.at - n : self.at]

    def item(self):
        first = self.take(1)[0]
        major, info = first >> 5, first & 31
        if major == 7:
            return self.simple(info)
        if info > 27:
            raise ValueError("indefinite or reserved length")
        n = info if info < 24 else int.from_bytes(self.take(1 << info - 24), "big")
        if major == 0:
            return n
        if major == 1:
            return -1 - n
        if major == 2:
            return bytes(self.take(n))
        if major == 3:
            return self.take(n).decode()
        if n > len(self.data) - self.at:
            raise ValueError("cut short")
        if major == 4:
            return [self.item() for _ in range(n)]
        if major == 5:
            return self.map(n)
        raise ValueError("tag")

    def map(self, n):
        result = {}
        for _ in range(n):
            key = self.item()
            if key in result:
                raise ValueError("key %r stands twice" % (key,))
            result[key] = self.item()
        return result

    def simple(self, info):
        if info in (20, 21, 22):
            return {20: False, 21: True, 22: None}[info]
        if info in (25, 26, 27):
            size = 1 << info - 24
            return struct.unpack(">" + "efd"[info - 25], self.take(size))[0]
        raise ValueError("simple value %d" % info)


def loads(data):
    reader = _Reader(data)
    value = reader.item()
    if reader.at != len(data):
        raise ValueError("bytes after the end")
    return value


def sequence(data):
    reader, values = _Reader(data), []
    while reader.at != len(data):
        values.append(reader.item())
    return values
