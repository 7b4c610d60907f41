"""shoal-engine alone, without agent, hub and broker: what every way through them must give too."""
import sys

from .cluster import BIN, SOURCE

sys.path.insert(0, str(SOURCE / "test/engine"))
from link import DONE, LOADED, Engine  # noqa: E402

# What the hub fills in where a request says nothing: sampling_defaults() of common/proto.h.
DEFAULTS = {"max_tokens": 0, "temperature": 0.8, "top_p": 0.95, "min_p": 0.05, "top_k": 40, "seed": 0, "ignore_eos": False,
            "cache_prompt": True, "presence_penalty": 0.0, "frequency_penalty": 0.0, "repeat_penalty": 1.0}


def engine_alone(model, documents):
    """The answers' texts to request documents (jobs.ask), one after the other."""
    texts = []
    with Engine(BIN / "shoal-engine") as engine:
        loaded, _ = engine.load(model, parallel=4)
        assert loaded["type"] == LOADED, loaded
        for d in documents:
            sampling = dict(DEFAULTS, **{k: v for k, v in d.items() if k not in ("model", "messages")})
            answer = engine.ask(d["messages"], **sampling)
            assert answer.end["type"] == DONE, answer.end
            texts.append(answer.text)
    return texts
