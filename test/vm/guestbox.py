"""shoaltest's Box on a machine of the lab: agent, echo engines and broker run there, the hub is played from here."""
import queue
from types import SimpleNamespace

from boxes import logged, show, start_service
from shoaltest.agent import READY, Box
from shoaltest.wait import wait_until

CONFIG = "/etc/shoal/agent.cfg"
MODEL = "/var/lib/models/{}.echo"


class GuestBox(Box):
    """The broker runs at once; start() starts a life of the agent, of which a test has several."""

    def __init__(self, machine, port, models):
        self.machine, self.id, self.models, self.epoch = machine, machine.name, models, 0
        self.broker = SimpleNamespace(port=port)
        machine.write("/etc/mosquitto/conf.d/test.conf", "listener 1883\nallow_anonymous true\nset_tcp_nodelay true\n"
                      "persistence false\n")
        for m in models:
            self.tell_engine(m, "")
        machine.check("systemctl stop mosquitto")
        self.start_broker()

    def eventually(self, condition, what):
        try:
            return wait_until(condition, what, 20 * self.machine.slow, 0.05)
        except AssertionError as why:
            raise AssertionError(f"{why}; it said:\n{self.logged()[-3000:]}") from None

    def start_broker(self):
        self.status, self.registration, self.heartbeat, self.statuses, self.events = None, None, None, [], queue.Queue()
        self.machine.check("systemctl start mosquitto")
        self.watch()

    def stop_broker(self):
        self.hub.close()
        self.machine.check("systemctl stop mosquitto")

    def tell_engine(self, model, settings):
        """What the echo engine does from its next start on."""
        self.machine.write(MODEL.format(model), settings)

    def kill_engines(self):
        self.machine.check("pkill -KILL shoal-engine")

    def start(self, config, *args, properties=()):
        models = ", ".join(f'{{ name = "{m}"; file = "{MODEL.format(m)}"; parallel = 2; }}' for m in self.models)
        self.machine.write(CONFIG, "hub_lease_ms = 3600000;\nheartbeat: { idle_ms = 1000; };\n"
                           'engine: { path = "/usr/local/bin/shoal-engine-echo"; backoff_min_ms = 50; backoff_max_ms = 1000; '
                           f"quarantine_deaths = 0; }};\nmodels = ( {models} );\n{config}")
        self.machine.run("systemctl stop shoal-agent")  # a case that failed may have left it
        start_service(self.machine, "shoal-agent", *args, properties=properties)

    def await_ready(self):
        self.eventually(lambda: self.is_ready(self.epoch), "the agent is ready")
        self.epoch = self.registration["epoch"]

    def model_states(self):
        """{model: state}, as the agent has told it last."""
        return {m[1]: m[4] for m in self.registration["models"]}

    def await_models(self, **states):
        self.eventually(lambda: self.model_states() == states, f"the models are {states}")

    def restart_engines(self, **settings):
        """Ends all; those named do what they are told from then on, and are then in good order."""
        for model, text in settings.items():
            self.tell_engine(model, text)
        seq = self.registration["seq"]
        self.kill_engines()
        self.eventually(lambda: self.registration["seq"] > seq and self.model_states() != {m: READY for m in self.models},
                        "the end of the engines is seen")

    def stop(self):
        self.machine.check("systemctl stop shoal-agent")

    def await_end(self):
        """By itself; its exit status."""
        self.machine.until('[ "$(systemctl show -p SubState --value shoal-agent)" = exited ]')
        status = int(show(self.machine, "shoal-agent", "ExecMainStatus")["ExecMainStatus"])
        self.machine.check("systemctl stop shoal-agent")
        return status

    def logged(self):
        return logged(self.machine, "shoal-agent")
