"""An Ethernet switch in this process, on a thread of its own: no network of the host's is touched."""
import os
import selectors
import socket
import struct
import threading

LIMIT = 4 << 20  # bytes that may wait for a slow machine before frames are dropped


class Switch(threading.Thread):
    """A machine's end of its cable is a stream socket with 4 bytes of length before each frame (qemu), or a tap device.

    cut(a, b) drops what the two send each other, as a broken path does: the carrier stays, each still reaches all others.
    """

    def __init__(self):
        super().__init__(daemon=True)
        self.selector = selectors.DefaultSelector()
        self.lock = threading.RLock()
        self.ports, self.macs, self.blocked = {}, {}, set()
        self.wake_r, self.wake_w = socket.socketpair()
        self.selector.register(self.wake_r, selectors.EVENT_READ, None)
        self.is_running = True
        self.start()

    def plug(self, name):
        """The socket for that machine's end."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self._add(name, ours, False)
        return theirs

    def plug_tap(self, name, fd):
        os.set_blocking(fd, False)
        self._add(name, open(fd, "r+b", buffering=0), True)

    def _add(self, name, file, is_tap):
        with self.lock:
            self.unplug(name)
            self.ports[name] = port = {"name": name, "file": file, "tap": is_tap, "in": bytearray(), "out": bytearray()}
            self.selector.register(file, selectors.EVENT_READ, port)
        self.wake_w.send(b".")

    def unplug(self, name):
        with self.lock:
            port = self.ports.pop(name, None)
            if port:
                self.selector.unregister(port["file"])
                port["file"].close()
                self.macs = {m: p for m, p in self.macs.items() if p != name}

    def cut(self, a, b):
        with self.lock:
            self.blocked.add(frozenset((a, b)))

    def heal(self):
        with self.lock:
            self.blocked.clear()

    def close(self):
        self.is_running = False
        self.wake_w.send(b".")
        self.join()
        for name in list(self.ports):
            self.unplug(name)
        self.selector.close()
        self.wake_r.close()
        self.wake_w.close()

    # ---- on the thread ----

    def run(self):
        while self.is_running:
            for key, mask in self.selector.select():
                with self.lock:
                    self._serve(key.data, mask)

    def _serve(self, port, mask):
        if port is None:
            self.wake_r.recv(4096)
            return
        if self.ports.get(port["name"]) is not port:
            return
        try:
            if mask & selectors.EVENT_READ:
                self._read(port)
            if mask & selectors.EVENT_WRITE:
                self._flush(port)
        except BlockingIOError:
            pass
        except OSError:  # its machine is gone
            self.unplug(port["name"])

    def _read(self, port):
        if port["tap"]:
            frame = os.read(port["file"].fileno(), 1 << 17)
            self._forward(port["name"], struct.pack(">I", len(frame)) + frame)
            return
        data, buf, at = port["file"].recv(1 << 18), port["in"], 0
        if not data:
            self.unplug(port["name"])
            return
        buf += data
        while len(buf) - at >= 4:
            n = 4 + struct.unpack_from(">I", buf, at)[0]
            if len(buf) - at < n:
                break
            self._forward(port["name"], bytes(buf[at:at + n]))
            at += n
        del buf[:at]

    def _forward(self, sender, data):
        to_mac, from_mac = data[4:10], data[10:16]
        self.macs[from_mac] = sender
        known = None if to_mac[0] & 1 else self.macs.get(to_mac)
        for name in [known] if known else list(self.ports):
            if name != sender and name in self.ports and frozenset((sender, name)) not in self.blocked:
                self._queue(self.ports[name], data)

    def _queue(self, port, data):
        try:
            if port["tap"]:
                os.write(port["file"].fileno(), data[4:])
            elif len(port["out"]) <= LIMIT:
                port["out"] += data
                self._flush(port)
        except OSError:  # full, or going away: the frame is lost, as frames are
            pass

    def _flush(self, port):
        out = port["out"]
        try:
            while out:
                del out[:port["file"].send(out)]
        except BlockingIOError:
            pass
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if out else 0)
        if self.selector.get_key(port["file"]).events != events:
            self.selector.modify(port["file"], events, port)
