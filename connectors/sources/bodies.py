"""Read the body of an HTTP answer within a bound, whatever it unpacks to."""

import zlib
from collections.abc import AsyncIterator, Mapping

_ANY_HEADER = 32 + zlib.MAX_WBITS  # gzip's or zlib's, as found


class BodyError(Exception):
    """A body that cannot be used; `passing` where another attempt may fare better."""

    def __init__(self, reason: str, *, passing: bool) -> None:
        """Say why."""
        super().__init__(reason)
        self.passing = passing


async def decoded(headers: Mapping[str, str], parts: AsyncIterator[bytes], max_bytes: int) -> bytes:
    """Return the body that `parts` make, unpacked, of at most `max_bytes`.

    Never more than that is unpacked, so that a small answer cannot fill the memory.

    Raises:
        BodyError: too large, cut short, or packed in a way not asked for.
    """
    coding = headers.get("content-encoding", "identity").strip().lower()
    if coding not in {"", "identity", "gzip", "x-gzip", "deflate"}:
        raise BodyError("body in an encoding not asked for", passing=False)
    body = bytearray()
    unpacker = None if coding in {"", "identity"} else _Unpacker()
    async for part in parts:
        body += part if unpacker is None else unpacker.unpack(part, max_bytes + 1 - len(body))
        if len(body) > max_bytes:
            raise BodyError(f"body above {max_bytes} bytes", passing=False)
    if unpacker is not None and not unpacker.whole:
        raise BodyError("body cut short", passing=True)
    return bytes(body)


class _Unpacker:
    def __init__(self) -> None:
        self._inner = zlib.decompressobj(_ANY_HEADER)
        self._begun = False

    @property
    def whole(self) -> bool:
        return self._inner.eof or not self._begun

    def unpack(self, part: bytes, room: int) -> bytes:
        out = bytearray()
        while part and len(out) < room:
            if self._inner.eof:  # gzip may be several members, one after another
                self._inner = zlib.decompressobj(_ANY_HEADER)
            self._begun = True
            try:
                out += self._inner.decompress(part, room - len(out))
            except zlib.error:
                raise BodyError("body damaged in its packing", passing=True) from None
            part = self._inner.unconsumed_tail or self._inner.unused_data
        return bytes(out)
