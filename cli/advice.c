#include "advice.h"

#include <stddef.h>

static const struct advice codes[] = {
	{ "BAD_REQUEST", "The request says something that cannot be done: the message names the field.",
		"correct that field; docs/PROTOCOL.md and docs/HTTP.md list what each may be" },
	{ "UNAUTHORIZED", "The hub, or the broker, does not know who asks.",
		"give the name and password, or the key, that the operator of the broker or hub has set up" },
	{ "FORBIDDEN",
		"Whoever asks may not do this: answers would go to someone else's topic, an operator's verb comes from one "
		"who is none, or a web page of another site asks.",
		"use topics below clients/<your user>/; for operators' verbs the user must be in the hub's admin.users; "
		"under "
		"another name than loopback's the hub answers to those in http.hosts" },
	{ "NOT_FOUND", "There is no job, agent or address of that name. Jobs that ended long ago are forgotten.",
		"'shoal jobs --state all' and 'shoal agents' list what there is" },
	{ "CONFLICT", "The id was used for another request before, or what was asked does not go with how things stand.",
		"give each request an id of its own; for an agent do first what the message says" },
	{ "TOO_LARGE", "The request, or its answer, is over a limit.",
		"shorten the prompt or max_tokens, or ask with \"stream\": true; docs/PROTOCOL.md lists the limits" },
	{ "RATE_LIMITED", "This user asks more often, or has more jobs at once, than is allowed.",
		"wait for retry_after_ms and try again; the limits are options of the hub" },
	{ "QUEUE_FULL", "As many jobs wait as may: on the hub, for this user, or in an agent's own queue.",
		"try again after retry_after_ms; add agents or slots, or raise jobs.queue_max, if it happens often" },
	{ "DEADLINE_EXCEEDED", "The job was not done when its deadline passed.",
		"give it more time, or find out with 'shoal agents' and 'shoal jobs' what the fleet is busy with" },
	{ "CANCELLED", "The client, an operator or the end of the client's connection cancelled the job.",
		"nothing; submit it again if it is still wanted" },
	{ "NO_AGENT",
		"Nobody can take the job: no agent with the model and the labels it requires is online and takes work, or "
		"the "
		"hub is cut off from the broker.",
		"'shoal doctor --model MODEL' tells of each agent why it cannot; start one, resume it, or mend the broker" },
	{ "MODEL_UNKNOWN", "No agent that the hub has heard of lists a model of this name.",
		"look at the names with 'shoal agents'; add the model to an agent's configuration" },
	{ "RESOURCE_LIMIT_EXCEEDED",
		"A program has run out of memory, threads or files, or reached a limit that was set for it.",
		"try again later; look at the logs of hub and agent for which one, and at the box's memory" },
	{ "MEMORY_LIMIT_EXCEEDED", "The agent has not enough memory for the model beside what runs, within memory.hard.",
		"'shoal agents AGENT' shows what models take; use a smaller or more quantised one, or raise the limit" },
	{ "QUEUE_TIMEOUT", "The job waited longer in an agent's own queue than that allows.",
		"add agents or slots; the hub gives it to another agent by itself while attempts last" },
	{ "BATCH_FAILED", "The engine failed at computing.",
		"look at the engine's lines in the agent's log; 'shoal load AGENT MODEL' starts it anew" },
	{ "BATCH_TIMEOUT", "The engine made no progress for so long that it was given up.",
		"look at the box's load and heat with 'shoal agents AGENT'; jobs.stall_ms is how long that is" },
	{ "MODEL_NOT_LOADED", "The agent has the model, but not loaded, or not for this kind of request.",
		"'shoal load AGENT MODEL' loads it; vectors need embeddings = true in the model's configuration" },
	{ "MODEL_LOAD_FAILED", "The engine could not load the model's file.",
		"'shoal agents AGENT' tells why; mend the file or its options, then 'shoal load AGENT MODEL'" },
	{ "MODEL_FETCH_FAILED", "The model's file could not be fetched.",
		"look at the agent's log for the address and the reason" },
	{ "CONTEXT_FULL", "The prompt, with what is to be written, does not fit into the model's context.",
		"shorten the conversation, or give the model more context (n_ctx) in the agent's configuration" },
	{ "ENGINE_CRASHED", "The engine's process died while it had the job.",
		"if it goes on: look at the agent's log; a prompt that kills engines is given up after a few attempts" },
	{ "AGENT_LOST", "The agent stopped, lost its connection or gave the job up, on each attempt the job had.",
		"'shoal agents' shows who is there; look at that box's network, power and log" },
	{ "PIPELINE_BROKEN", "A stage of a pipeline was lost.", "'shoal agents' shows who is there; submit the job again" },
	{ "CHECKSUM_MISMATCH", "What arrived is not what the engine wrote: something between them altered it.",
		"ask again; if it happens more than once, test that box's memory and network" },
	{ "INTERNAL_ERROR", "Something inside went wrong that should not.",
		"look at the logs of hub and agent at that moment, and report what they say" },
	{ "JOURNAL_FULL", "The disk has no room left to write jobs down, so the hub takes no new ones.",
		"free space where the hub keeps its state (state_dir); it goes on by itself" },
	{ "RESULT_GONE", "This id was answered once, and its answer is no longer kept.",
		"submit it under another id if the answer is needed again" },
	{ "POISON", "Engines died of this job, again and again, so it is given to no other.",
		"look at the prompt and the options that come with it, and at the engine's log on the agents that had it" },
	{ "STREAM_RESET", "The hub started again and cannot continue a stream that was shown in part.",
		"submit the request again" },
};

static const struct advice reasons[] = {
	{ "chosen", "It has the job, or would be given it.", "" },
	{ "outranked", "It could take the job; another agent is the better choice at the moment.", "" },
	{ "hub_blind", "The hub is cut off, or has lost most agents at once, and waits until it sees clearly.",
		"mend the hub's link to the broker; otherwise it looks again by itself within seconds" },
	{ "never_seen", "It is expected, but has not registered since the hub started.",
		"start the agent there: systemctl start shoal-agent" },
	{ "quarantined", "Two boxes call themselves the same.",
		"give one of them its own id and an empty state directory, then restart both" },
	{ "isolated", "An operator has put it in quarantine.", "shoal release AGENT" },
	{ "offline", "It is not connected to the broker.",
		"look whether the box and its agent run (systemctl status shoal-agent) and reach the broker" },
	{ "stale_epoch", "It has just restarted, and its registration is not here yet.", "wait a moment" },
	{ "suspect", "It has missed heartbeats: the box, or the network to it, is slow.",
		"look at the box's load and network; it counts as lost when it stays silent" },
	{ "draining",
		"It finishes what it has and takes nothing new: an operator, its button or its stopping asked for that.",
		"shoal resume AGENT" },
	{ "weight_zero", "An operator has given it the weight 0.", "shoal weight AGENT 100" },
	{ "model_absent", "It does not have the model.",
		"add the model to the agent's configuration, or ask for one that it has" },
	{ "model_failed", "It could not load the model.",
		"'shoal agents AGENT' tells why; mend that, then: shoal load AGENT MODEL" },
	{ "model_quarantined", "The model's engine died too often there.",
		"mend what its log tells, then: shoal load AGENT MODEL" },
	{ "breaker_open", "The model failed too often there, so it rests; a single job tries it again.",
		"nothing, or mend what its log tells and: shoal load AGENT MODEL" },
	{ "label_missing", "It lacks a label that the job requires.",
		"ask for other labels, or add the label to the agent's configuration" },
	{ "too_big", "The model needs more memory than the box may use.",
		"use a smaller or more quantised model, or raise memory.hard there" },
	{ "deadline", "It could not begin to answer before the job's deadline.", "give the job more time" },
	{ "just_failed", "It has just failed this job, so others are asked first.", "wait a moment" },
	{ "kept_free", "It is kept free for a job that has to run alone.", "wait a moment" },
	{ "not_alone", "Engines died of this job before: it may only run where nothing else does.",
		"wait until an agent is free of other jobs" },
	{ "other_build", "Its engine or its model file is another than the one the answer was begun with.",
		"wait for the agent that has it; agents with equal engines and files take over from each other" },
	{ "no_slots",
		"It offers no slots for the model at the moment, for lack of memory or because of what else is loaded.",
		"'shoal agents AGENT' shows what it holds" },
	{ "slots_full", "All its slots are taken.", "wait, or add agents or slots" },
	{ "model_full", "All its slots for this model are taken.", "wait, or add agents or slots of the model" },
};

static bool is_same(struct span name, const char *want)
{
	size_t n = strlen(want);

	if (name.n != n)
		return false;
	for (size_t i = 0; i < n; i++) {
		char a = name.p[i], b = want[i];

		if ((a >= 'a' && a <= 'z' ? a - 'a' + 'A' : a) != (b >= 'a' && b <= 'z' ? b - 'a' + 'A' : b))
			return false;
	}
	return true;
}

static const struct advice *find(const struct advice *list, size_t n, struct span name)
{
	for (size_t i = 0; i < n; i++)
		if (is_same(name, list[i].name))
			return &list[i];
	return NULL;
}

/* As OpenAI's clients know them (docs/HTTP.md). */
static struct span own_name(struct span name)
{
	static const char *const others[][2] = {
		{ "model_not_found", "MODEL_UNKNOWN" },
		{ "context_length_exceeded", "CONTEXT_FULL" },
		{ "rate_limit_exceeded", "RATE_LIMITED" },
		{ "invalid_json", "BAD_REQUEST" },
		{ "missing_required_parameter", "BAD_REQUEST" },
		{ "invalid_value", "BAD_REQUEST" },
		{ "unsupported", "BAD_REQUEST" },
		{ "method_not_allowed", "BAD_REQUEST" },
		{ "stopping", "NO_AGENT" },
	};

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (is_same(name, others[i][0]))
			return span_of(others[i][1]);
	return name;
}

const struct advice *advice_of_code(struct span name)
{
	return find(codes, sizeof(codes) / sizeof(codes[0]), own_name(name));
}

const struct advice *advice_of_reason(struct span name)
{
	return find(reasons, sizeof(reasons) / sizeof(reasons[0]), name);
}

const struct code_info *advice_code(struct span name)
{
	const struct code_info *none = code_info(CODE_INTERNAL_ERROR);

	for (unsigned i = 1; i <= CODE_MAX; i++) {
		const struct code_info *info = code_info(i);

		if ((info != none || i == CODE_INTERNAL_ERROR) && is_same(own_name(name), info->name))
			return info;
	}
	return NULL;
}

const struct advice *advice_nth(size_t n)
{
	return n < sizeof(codes) / sizeof(codes[0]) ? &codes[n] : NULL;
}
