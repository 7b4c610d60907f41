#!/usr/bin/python3
"""SIGTERM to an agent in mid-stream: it finishes what it has, takes nothing new, says goodbye."""
import signal

from shoaltest.cluster import Cluster
from shoaltest.jobs import ask, by_mqtt
from shoaltest.mqtt import Client
from shoaltest.suite import check, equal, main, test
from shoaltest.wait import wait_until

cluster = Cluster(agents=2)
client = Client(cluster.mqtt_port)
LONG = ask("tell me about the cold room", ignore_eos=True, max_tokens=440, temperature=0)


def stream_and_its_agent():
    """A job in mid-stream and who runs it."""
    speakers = []
    client.subscribe("shoal/v1/agents/+/out", lambda m: speakers.append(m.topic.split("/")[-2]), qos=0)
    job = client.submit(dict(LONG, stream=True))
    while not job.frames():
        job.next()
    return job, wait_until(lambda: speakers and speakers[-1], "the agent is known")


@test
def a_draining_agent_finishes_its_stream_and_stays_away():
    want = by_mqtt(client, LONG)[0]
    job, agent = stream_and_its_agent()
    pid = cluster.signal(agent, signal.SIGTERM)
    done = job.end()
    equal((done["type"], done.get("text")), ("done", want), "the stream over a drain")
    wait_until(lambda: cluster.pid(agent) is None, f"{agent} (pid {pid}) has ended", 30)
    other = next(a for a in cluster.agent_names() if a != agent)
    for _ in range(4):
        equal(by_mqtt(client, dict(LONG, max_tokens=5))[1], other, "who answers now")
    check(f"{agent} has ended" in cluster.stderr(), cluster.stderr())
    wait_until(lambda: cluster.list_agents()[agent]["state"] == "offline", f"the hub shows {agent} offline")


@test
def with_no_agent_left_a_job_is_told_so():
    for agent in cluster.agent_names():
        if cluster.pid(agent):
            cluster.signal(agent, signal.SIGTERM)
    wait_until(lambda: not any(a["state"] in ("online", "suspect", "draining") for a in cluster.list_agents().values()), "no agent is online", 30)
    answer = client.submit(dict(LONG, deadline_ms=15000)).end()
    equal(answer["type"], "error", f"answer {answer}")
    check(answer["code"] in ("NO_AGENT", "MODEL_UNKNOWN", "DEADLINE_EXCEEDED"), answer)


main(after=[client.close, cluster.close])
