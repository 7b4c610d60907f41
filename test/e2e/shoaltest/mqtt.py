"""An MQTT 5 client on python3-paho-mqtt (1.6 of Debian 12, 2.x of Debian 13), and jobs over it."""
import json
import queue
import threading
import time
import uuid

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from . import cbor

PREFIX = "shoal/v1"


def _client(client_id):
    if hasattr(paho, "CallbackAPIVersion"):
        return paho.Client(paho.CallbackAPIVersion.VERSION2, client_id, protocol=paho.MQTTv5)
    return paho.Client(client_id, protocol=paho.MQTTv5)


class Message:
    def __init__(self, m):
        self.at = time.monotonic()
        self.topic, self.payload, self.retain = m.topic, m.payload, m.retain
        self.content_type = getattr(m.properties, "ContentType", None)
        self.response_topic = getattr(m.properties, "ResponseTopic", None)
        self.correlation = getattr(m.properties, "CorrelationData", None)

    def document(self):
        return json.loads(self.payload) if self.payload[:1] == b"{" else cbor.loads(self.payload)


class Client:
    """Messages of each subscribed filter go to the handler given with it, on paho's thread."""

    def __init__(self, port, user=None):
        self.user = user or "t-" + uuid.uuid4().hex[:12]
        self._granted, self._acked = {}, {}
        self._changed = threading.Condition()
        self._up = threading.Event()
        self._lib = _client("test-" + uuid.uuid4().hex[:12])
        self._lib.max_inflight_messages_set(100)
        self._lib.on_connect = lambda *a: self._up.set()
        self._lib.on_subscribe = lambda c, u, mid, *a: self._note(self._granted, mid, a[0])
        self._lib.on_publish = lambda c, u, mid, *a: self._note(self._acked, mid, a)
        self._lib.connect("127.0.0.1", port, keepalive=20)
        self._lib.loop_start()
        assert self._up.wait(10), "no connection to the broker"

    def _note(self, table, mid, value):
        with self._changed:
            table[mid] = value
            self._changed.notify_all()

    def _await(self, table, mid, what):
        with self._changed:
            assert self._changed.wait_for(lambda: mid in table, 20), f"no acknowledgement of {what}"
            return table.pop(mid)

    def subscribe(self, topic, handler, qos=1):
        self._lib.message_callback_add(topic, lambda c, u, m: handler(Message(m)))
        _, mid = self._lib.subscribe(topic, qos)
        self._await(self._granted, mid, f"subscribing to {topic}")

    def unsubscribe(self, topic):
        self._lib.unsubscribe(topic)
        self._lib.message_callback_remove(topic)

    def publish(self, topic, payload, qos=1, wait=True, retain=False, **properties):
        """Properties by their paho names: ResponseTopic=…, CorrelationData=…, ContentType=…"""
        p = Properties(PacketTypes.PUBLISH)
        for name, value in properties.items():
            setattr(p, name, value)
        info = self._lib.publish(topic, payload, qos, retain, properties=p)
        if wait and qos:
            info.wait_for_publish(20)
            assert info.is_published(), f"no acknowledgement of a publish to {topic}"

    def topic(self, leaf):
        return f"{PREFIX}/clients/{self.user}/{leaf}"

    def submit(self, document, as_cbor=False, correlation=None):
        return Job(self, document, as_cbor, correlation)

    def close(self):
        self._lib.disconnect()
        self._lib.loop_stop()


class Job:
    """A submit and its answers, in the order they came."""

    def __init__(self, client, document, as_cbor=False, correlation=None):
        self.client = client
        self.messages = queue.Queue()
        self.seen = []
        self.reply = client.topic("r-" + uuid.uuid4().hex)
        self.sent_at = time.monotonic()
        client.subscribe(self.reply, self.messages.put)
        properties = {"ResponseTopic": self.reply, "ContentType": "application/cbor" if as_cbor else "application/json"}
        if correlation is not None:
            properties["CorrelationData"] = correlation
        client.publish(client.topic("jobs"), cbor.dumps(document) if as_cbor else json.dumps(document), **properties)

    def next(self, deadline_s=60):
        """The next answer as (message, document)."""
        try:
            m = self.messages.get(timeout=deadline_s)
        except queue.Empty:
            raise AssertionError(f"no further answer in {deadline_s} s; so far {len(self.seen)}") from None
        d = m.document()
        self.seen.append((m, d))
        return m, d

    def end(self, deadline_s=120):
        """Reads up to `done` or `error`; returns that document."""
        while True:
            _, d = self.next(deadline_s)
            if d["type"] in ("done", "error"):
                self.client.unsubscribe(self.reply)
                return d

    def frames(self):
        return [(m.at, d) for m, d in self.seen if d["type"] == "tokens"]
