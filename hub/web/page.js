// The status page: asks the hub for its figures and shows them.  Whatever comes from agents and
// clients is written as text, never as markup.
"use strict";

const POLL_MS = 1000, HIDDEN_MS = 15000, PATIENCE_MS = 5000, SHOWN = 200, HISTORY = 120;
const $ = (id) => document.getElementById(id);
const say = (id, text) => { const e = $(id); if (e.textContent !== text) e.textContent = text; };

// ---- figures for people ----

const number = (n) => n >= 1e9 ? (n / 1e9).toFixed(1) + " B" : n >= 1e6 ? (n / 1e6).toFixed(1) + " M" : n >= 1e4 ? (n / 1e3).toFixed(1) + " k" : String(Math.round(n));
const bytes = (n) => {
	const units = ["B", "KiB", "MiB", "GiB", "TiB"];
	let i = 0;
	for (; n >= 1024 && i < units.length - 1; i++) n /= 1024;
	return n.toFixed(n < 10 && i > 0 ? 1 : 0) + " " + units[i];
};
const span = (ms) => {
	const s = Math.floor(ms / 1000);
	if (s < 1) return "now";
	if (s < 60) return s + " s";
	if (s < 3600) return Math.floor(s / 60) + " min";
	if (s < 86400) return Math.floor(s / 3600) + " h " + Math.floor(s % 3600 / 60) + " min";
	return Math.floor(s / 86400) + " d " + Math.floor(s % 86400 / 3600) + " h";
};
const rate = (n) => n >= 100 ? number(n) : n.toFixed(1);

// ---- rows that stay: one a key, so that nothing flickers and selections survive ----

function element(tag, className, text) {
	const e = document.createElement(tag);
	if (className) e.className = className;
	if (text !== undefined) e.textContent = text;
	return e;
}

function state(word, text) {
	const e = element("span", "state", text === undefined ? word : text);
	e.dataset.state = word;
	return e;
}

function lines(main, sub) {
	const f = document.createDocumentFragment();
	f.append(main);
	if (sub) f.append(element("span", "sub", sub));
	return f;
}

// columns: [label, class, function of an item giving a node or a text]
function fill(body, items, key, columns) {
	const old = new Map();
	for (const tr of body.rows) old.set(tr.dataset.key, tr);
	items.forEach((item, i) => {
		const k = key(item), json = JSON.stringify(item);
		let tr = old.get(k);
		if (!tr) {
			tr = element("tr");
			tr.dataset.key = k;
		}
		old.delete(k);
		if (tr.shown !== json) {
			tr.shown = json;
			tr.replaceChildren(...columns.map(([label, className, show]) => {
				const td = element("td", className);
				td.dataset.label = label;
				const box = element("div");
				box.append(show(item));
				td.append(box);
				return td;
			}));
		}
		if (body.rows[i] !== tr) body.insertBefore(tr, body.rows[i] || null);
	});
	for (const tr of old.values()) tr.remove();
}

// ---- the parts of the page ----

function jobsOf(a) {
	const f = document.createDocumentFragment(), bar = element("progress");
	f.append(a.running + " of " + a.slots + (a.queued ? " + " + a.queued + " waiting" : ""));
	bar.max = Math.max(a.slots, 1);
	bar.value = Math.min(a.running, a.slots);
	f.append(bar);
	return f;
}

function modelsOf(a) {
	const box = element("div", "models");
	for (const m of a.models) {
		const e = state(a.state === "offline" ? "" : m.state, m.name + (m.state === "loading" && m.load_percent ? " " + m.load_percent + " %" : ""));
		e.title = m.state + (m.reason ? ": " + m.reason : "") + (m.decode_tokens_per_s ? ", writes " + rate(m.decode_tokens_per_s) + " tokens/s" : "");
		box.append(e);
	}
	// What does not work says why, not only to those who point at it.
	const why = a.state === "offline" ? [] : a.models.filter((m) => m.reason && m.state !== "loading");
	const f = document.createDocumentFragment();
	f.append(a.models.length ? box : "–", ...why.map((m) => element("span", "sub", m.name + ": " + m.reason)));
	return f;
}

const hardware = (a) => {
	const h = a.hardware || {};
	return [a.host && a.host !== a.id ? a.host : "", h.machine, h.cpu || h.arch, h.cores ? h.cores + " cores" : ""].filter(Boolean).join(" · ");
};
const fares = (a) => {
	const s = a.sensors || {};
	return [s.temp_milli !== undefined ? (s.temp_milli / 1000).toFixed(0) + " °C" : "", s.throttled ? "throttled" : "", s.undervoltage ? "voltage low" : "",
		s.battery_percent !== undefined && !s.on_mains ? "battery " + s.battery_percent + " %" : ""].filter(Boolean).join(" · ");
};
const here = (a, text) => a.state === "offline" ? "–" : text;

const agentColumns = [
	["Agent", "text", (a) => lines(a.id, hardware(a))],
	["State", "", (a) => lines(state(a.state), a.reason || "for " + span(a.since_ms))],
	["Jobs", "", (a) => here(a, jobsOf(a))],
	["Models", "text", modelsOf],
	["Tokens/s", "num", (a) => here(a, rate(a.tokens_per_s))],
	["Load", "num", (a) => here(a, lines(a.load.toFixed(2), fares(a)))],
	["Memory free", "num", (a) => here(a, lines(a.mem_available ? bytes(a.mem_available) : "–", a.sensors && a.sensors.disk_free !== undefined ? "disk " + bytes(a.sensors.disk_free) : ""))],
	["Heard", "num", (a) => a.seen_ms < 1000 ? "now" : span(a.seen_ms) + " ago"],
];
const modelColumns = [
	["Model", "text", (m) => lines(m.name, m.arch)],
	["Ready on", "", (m) => state(m.ready ? "ready" : "", m.ready === 1 ? "1 agent" : (m.ready || "no") + (m.ready ? " agents" : " agent"))],
	["Parameters", "num", (m) => m.n_params ? number(m.n_params) : "–"],
	["Size", "num", (m) => m.size ? bytes(m.size) : "–"],
	["Context", "num", (m) => m.n_ctx ? number(m.n_ctx) : "–"],
	["Fingerprint", "num", (m) => element("code", "", m.digest ? m.digest.slice(0, 12) : "–")],
];
const jobColumns = [
	["Job", "", (j) => element("code", "", j.job.slice(0, 10))],
	["State", "", (j) => lines(state(j.state), j.priority === "normal" ? "" : j.priority + " priority")],
	["Model", "text", (j) => j.model],
	["Agent", "text", (j) => j.agent || "–"],
	["User", "text", (j) => j.user],
	["Attempt", "num", (j) => String(j.attempt)],
	["Tokens", "num", (j) => String(j.tokens)],
	["Age", "num", (j) => span(j.age_ms)],
];

const rates = [];

function spark(now) {
	rates.push(now);
	if (rates.length > HISTORY) rates.shift();
	const top = Math.max(...rates, 1);
	const points = rates.map((r, i) => (HISTORY - rates.length + i + 1).toFixed(1) + "," + (26.5 - 25 * r / top).toFixed(1));
	$("t-spark").firstElementChild.setAttribute("points", points.join(" "));
}

function showStatus(s) {
	const a = s.agents, missing = a.total - a.online;
	const others = ["suspect", "draining", "offline", "quarantined"].filter((k) => a[k]).map((k) => a[k] + " " + k).join(", ");
	say("t-agents", String(a.online));
	say("t-agents-more", missing ? "of " + a.total + ": " + others : a.total ? a.slots + " slots" : "");
	say("t-models", String(s.models_ready));
	say("t-models-more", s.models.length > s.models_ready ? "of " + s.models.length + " known" : "");
	say("t-running", String(s.running));
	say("t-running-more", s.queued + " queued");
	say("t-rate", rate(s.tokens_per_s));
	spark(s.tokens_per_s);
	say("hub", "hub " + s.hub.version + " · up " + span(s.hub.uptime_ms) + " · " + s.hub.policy.replace("_", " "));
	say("link", s.link.up ? "broker " + s.link.broker : "no broker");
	$("link").dataset.state = s.link.up ? "up" : "down";
	const c = s.counters;
	say("totals", number(c.jobs_done) + " jobs done · " + number(c.jobs_failed + c.jobs_expired) + " failed · " + number(c.jobs_cancelled) + " cancelled · " + number(c.failovers) + " moved to another agent · " + number(c.tokens) + " tokens");
	$("empty").hidden = a.total > 0;
	for (const id of ["try", "agents-card", "models-card", "jobs-card"]) $(id).hidden = a.total === 0;
	fill($("models"), s.models.slice(0, SHOWN), (m) => m.name, modelColumns);
	$("models-none").hidden = s.models.length > 0;
	$("models").parentElement.hidden = s.models.length === 0;
	showChoices(s.models);
}

function showChoices(models) {
	const select = $("try-model"), names = models.filter((m) => m.ready).map((m) => m.name).sort();
	const old = [...select.options].map((o) => o.value);
	if (names.join("\n") === old.join("\n")) return;
	const chosen = select.value;
	select.replaceChildren(...names.map((n) => new Option(n, n)));
	if (names.includes(chosen)) select.value = chosen;
}

function showAgents(doc) {
	fill($("agents"), doc.agents, (a) => a.id, agentColumns);
	say("agents-count", doc.total ? String(doc.total) : "");
	say("agents-more", doc.next ? "and " + (doc.total - doc.agents.length) + " more in /api/v1/agents" : "");
}

function showJobs(doc) {
	fill($("jobs"), doc.jobs.slice(0, SHOWN), (j) => j.job, jobColumns);
	$("jobs").parentElement.hidden = doc.jobs.length === 0;
	$("jobs-none").hidden = doc.jobs.length > 0;
	say("jobs-count", doc.live ? String(doc.live) : "");
	say("jobs-more", doc.live > SHOWN ? "and " + (doc.live - Math.min(SHOWN, doc.jobs.length)) + " more" : "");
}

// ---- asking ----

let lastHeard = 0, timer = 0;

async function get(path) {
	const r = await fetch(path, { signal: AbortSignal.timeout(PATIENCE_MS), cache: "no-store" });
	if (!r.ok) throw new Error(path + ": " + r.status);
	return r.json();
}

function banner(text) {
	say("banner", text);
	$("banner").hidden = text === "";
}

function showTrouble(s) {
	if (!s.link.up) banner("The hub has no connection to the broker at " + s.link.broker + ". Running jobs go on; new ones are refused until it is back.");
	else if (s.link.blind) banner("New work is held back: " + s.link.reason + ".");
	else banner("");
}

async function poll() {
	clearTimeout(timer);
	try {
		const [status, agents, jobs] = await Promise.all([get("/api/v1/status"), get("/api/v1/agents?limit=" + SHOWN), get("/api/v1/jobs?limit=" + SHOWN)]);
		lastHeard = Date.now();
		document.body.classList.remove("stale");
		showStatus(status);
		showAgents(agents);
		showJobs(jobs);
		showTrouble(status);
	} catch (e) {
		document.body.classList.add("stale");
		$("link").dataset.state = "down";
		say("link", "hub not reached");
		banner("The hub does not answer" + (lastHeard ? "; the figures below are " + span(Math.max(Date.now() - lastHeard, 1000)) + " old." : "."));
	}
	timer = setTimeout(poll, document.hidden ? HIDDEN_MS : POLL_MS);
}

document.addEventListener("visibilitychange", () => { if (!document.hidden) poll(); });

// ---- try it ----

let running = null;

// Calls take(document) for each server-sent event of a response.
async function events(response, take) {
	const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
	let rest = "";
	for (;;) {
		const { value, done } = await reader.read();
		if (done) return;
		const parts = (rest + value).split("\n\n");
		rest = parts.pop();
		for (const part of parts)
			for (const line of part.split("\n"))
				if (line.startsWith("data: ") && line !== "data: [DONE]") take(JSON.parse(line.slice(6)));
	}
}

async function ask(prompt, model, max, signal) {
	const answer = $("try-answer"), began = performance.now();
	let first = 0, receipt = null;
	const response = await fetch("/v1/chat/completions", {
		method: "POST", signal, headers: { "Content-Type": "application/json" },
		body: JSON.stringify({ model, messages: [{ role: "user", content: prompt }], max_tokens: max, stream: true, stream_options: { include_usage: true } }),
	});
	if (!response.ok) throw new Error((await response.json()).error.message);
	await events(response, (d) => {
		if (d.error) throw new Error(d.error.message);
		const text = d.choices.length ? d.choices[0].delta.content : "";
		if (text) {
			first = first || performance.now() - began;
			answer.append(text);
		}
		if (d.shoal) receipt = { ...d.shoal, ...d.timings };
	});
	if (!receipt) throw new Error("The answer broke off.");
	return receipt.predicted_n + " tokens from " + receipt.agent + (receipt.attempts > 1 ? " after " + receipt.attempts + " attempts" : "") +
		", first after " + Math.round(first) + " ms, all after " + Math.round(performance.now() - began) + " ms" +
		(receipt.cache_n ? ", " + receipt.cache_n + " prompt tokens cached" : "");
}

async function send(e) {
	e.preventDefault();
	if (running) return;
	const answer = $("try-answer");
	running = new AbortController();
	answer.hidden = false;
	answer.className = "answer";
	answer.textContent = "";
	say("try-note", "");
	$("try-send").disabled = true;
	$("try-stop").disabled = false;
	try {
		say("try-note", await ask($("try-prompt").value, $("try-model").value, Number($("try-max").value), running.signal));
	} catch (err) {
		if (err.name === "AbortError") say("try-note", "Stopped.");
		else {
			answer.classList.add("bad");
			answer.append((answer.textContent ? "\n" : "") + err.message);
		}
	}
	running = null;
	$("try-send").disabled = false;
	$("try-stop").disabled = true;
}

$("try-form").addEventListener("submit", send);
$("try-stop").addEventListener("click", () => running && running.abort());
$("try-prompt").addEventListener("keydown", (e) => { if (e.key === "Enter" && (e.ctrlKey || e.metaKey)) send(e); });
$("empty-command").textContent = [
	"cat > agent.cfg <<'END'",
	'id = "box-1";',
	'broker = { host = "' + location.hostname + '"; };',
	'models = ( { name = "triage"; file = "/path/to/model.gguf"; } );',
	"END",
	"shoal-agent --config agent.cfg",
].join("\n");
poll();
